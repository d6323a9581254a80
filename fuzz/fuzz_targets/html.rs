//! Any text as HTML.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|html: &str| {
    let text = ser_data::html_to_text(html);
    // Entities are at most shortened, list items and paragraphs add a few characters a tag.
    assert!(text.len() <= 4 * html.len() + 16, "{html:?} gave {text:?}");
});
