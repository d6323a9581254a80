//! Renderings compared with Jinja2 (tests/golden/make_jinja.py), and the limits.

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Case {
    source: String,
    expected: Option<String>,
}

/// Cases that Jinja2 renders and this engine refuses.
const REFUSED: [&str; 8] = [
    "{{ 2 ** -1 }}",
    "{{ 10 ** 50 }}",
    r"{{ ['\u00e9\u200b\u4f60\ud83d'] }}",
    // The optimizer of Jinja2 turns these errors of constants into undefined values.
    "{{ none[0:1] }}",
    "{{ {'a':1}[0:1] }}",
    "{{ 'a'.__class__ }}",
    "{{ messages | groupby('role') | first }}",
    "{{ 1.real }}",
];

fn now() -> jiff::Zoned {
    jiff::civil::date(2024, 7, 26).to_zoned(jiff::tz::TimeZone::UTC).unwrap()
}

fn turn(role: &str, content: &str) -> Value {
    let mut dict = Dict::default();
    dict.insert(Value::str("role"), Value::str(role)).unwrap();
    dict.insert(Value::str("content"), Value::str(content)).unwrap();
    Value::Dict(std::rc::Rc::new(dict))
}

fn render(source: &str) -> Result<String, TemplateError> {
    let messages = Value::list(vec![
        turn("system", "Be kind."),
        turn("user", " Hi <b>é你😀</b>\n'you' & \"me\" "),
        turn("assistant", "<think>\nhm\n</think>\n\nYes."),
    ]);
    let values = [
        ("messages", messages?),
        ("bos_token", Value::str("<s>")),
        ("eos_token", Value::str("</s>")),
        ("tools", Value::None),
        ("documents", Value::None),
        ("add_generation_prompt", Value::Bool(true)),
    ];
    Template::new(source)?.render(values.map(|(name, value)| (name.to_string(), value)), &now())
}

#[test]
fn templates_render_as_jinja2_renders_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/jinja.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.len() > 800);
    for case in &cases {
        match (render(&case.source), &case.expected) {
            (Ok(text), Some(expected)) => assert_eq!(&text, expected, "{}", case.source),
            (Ok(text), None) => panic!("{} gives {text:?} and fails in Jinja2", case.source),
            (Err(error), Some(_)) => assert!(REFUSED.contains(&case.source.as_str()), "{}: {error}", case.source),
            (Err(_), None) => {}
        }
    }
}

/// On the small stack of a worker thread, as rayon's: none of these may abort the process.
#[test]
fn endless_templates_are_stopped() {
    let endless = [
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_string(), "deeper"),
        ("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}".to_string(), "steps"),
        (
            "{% set ns = namespace(x='a') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
                .to_string(),
            "bytes",
        ),
        ("{{ 'a' * 99999999999 }}".to_string(), "bytes"),
        ("{{ '%99999999s' % 1 }}".to_string(), "too large"),
        ("{{ 'a'.center(99999999999) }}".to_string(), "bytes"),
        ("{{ [0] * 99999999999 }}".to_string(), "items"),
        (
            "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
                .to_string(),
            "values",
        ),
        (
            "{% set ns = namespace(x=[1]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}".to_string(),
            "deeper",
        ),
        (format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)), "nests"),
        (format!("{{{{ {}1 }}}}", "- ".repeat(5000)), "nests"),
        (format!("{{{{ 1{} }}}}", " + 1".repeat(5000)), "chains"),
        (format!("{{{{ 1{} }}}}", "|abs".repeat(5000)), "chains"),
        (format!("{{{{ a{} }}}}", ".b".repeat(5000)), "chains"),
        ("{% if true %}".repeat(5000), "nests"),
        ("{% for x in y recursive %}".repeat(5000), "nests"),
        ("{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}".to_string(), "deeper"),
    ];
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for (source, expected) in &endless {
            let error = render(source).unwrap_err().to_string();
            assert!(error.contains(expected), "{}: {error}", source.get(..60).unwrap_or(source));
        }
        // At the limit.
        assert_eq!(render(&format!("{{{{ {}1{} }}}}", "(".repeat(45), ")".repeat(45))).unwrap(), "1");
        assert_eq!(render(&format!("{{{{ 1{} }}}}", " + 1".repeat(60))).unwrap(), "61");
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn json_values_become_pythons() {
    let json = json!({"a": [1, 2.5, null, true, "x"], "b": {"c": 18_446_744_073_709_551_615_u64}});
    let text = Value::try_from(&json).unwrap().to_text().unwrap();
    assert_eq!(&*text, "{'a': [1, 2.5, None, True, 'x'], 'b': {'c': 18446744073709551615}}");
}
