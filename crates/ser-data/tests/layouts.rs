//! Every layout as published, in every container, against pairs that `golden/make_layouts.py` makes of the same rows.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ser_core::Preference;
use ser_data::{Layout, PreferenceFile, ReadSettings, ReadSummary};
use serde_json::{Value, json};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts")
}

fn read(path: &Path, settings: &ReadSettings) -> (Vec<Preference>, ReadSummary, Option<Layout>) {
    let mut file = PreferenceFile::open(path, settings).unwrap();
    let mut all = Vec::new();
    while let Some(next) = file.next_preference().unwrap() {
        all.push(next);
    }
    (all, file.summary().clone(), file.layout())
}

/// A pair as the golden file has it.
fn plain(preference: &Preference) -> Value {
    let prompt: Vec<&str> = preference.pair.prompt.iter().map(|turn| turn.content.as_str()).collect();
    json!({"prompt": prompt, "chosen": preference.chosen(), "rejected": preference.rejected(), "margin": preference.margin})
}

#[test]
fn every_layout_gives_its_pairs() {
    let expected: Value = serde_json::from_slice(&std::fs::read(golden().join("expected.json")).unwrap()).unwrap();
    let mut layouts = Vec::new();
    for (name, pairs) in expected.as_object().unwrap() {
        let layout: Layout = name.split('-').next().unwrap().parse().unwrap();
        layouts.push(layout);
        let named = ReadSettings { layout: Some(layout), ..ReadSettings::default() };
        // Which answer is the safer one is read only where it is asked for.
        let settings = if layout == Layout::PkuSafeRlhfSafer { named.clone() } else { ReadSettings::default() };
        let mut pairs = pairs.as_array().unwrap().clone();
        let gaps: Vec<Value> =
            pairs.iter_mut().map(|pair| pair.as_object_mut().unwrap().remove("gap").unwrap()).collect();
        let path = golden().join(format!("{name}.jsonl"));
        let (found, summary, detected) = read(&path, &settings);
        assert_eq!(detected, Some(layout), "{name}");
        assert_eq!(found.iter().map(plain).collect::<Vec<_>>(), pairs, "{name}");
        assert_eq!((summary.rows, summary.pairs as usize, summary.skipped), (5, found.len(), 0), "{name}");
        let odd =
            [summary.contradicting_scores, summary.negative_margins, summary.unscored_answers, summary.values_as_text];
        assert_eq!(odd, [0; 4], "{name}");
        assert_eq!(read(&path, &named).0, found, "{name}, named");
        let ids: Vec<u64> = found.iter().map(|p| p.pair.id.0).collect();
        assert!(ids.windows(2).all(|two| two[0] < two[1]), "{name}: {ids:?}");
        #[cfg(feature = "parquet")]
        {
            let (of_parquet, other, detected) = read(&golden().join(format!("{name}.parquet")), &settings);
            // Positions are rows in parquet and lines in text.
            assert_eq!(other.tied_rows.len(), summary.tied_rows.len(), "{name}");
            let other = ReadSummary { tied_rows: summary.tied_rows.clone(), ..other };
            assert_eq!((detected, other), (Some(layout), summary), "{name}");
            assert_eq!(of_parquet, found, "{name}");
        }
        // Scores make margins where that is asked for, times the scale; a margin of the data stays.
        let scaled = ReadSettings { score_margin: Some(0.25), ..settings };
        let margins: Vec<Option<f64>> = read(&path, &scaled).0.iter().map(|pair| pair.margin).collect();
        let own = pairs.iter().map(|pair| pair["margin"].as_f64());
        let expected: Vec<Option<f64>> =
            own.zip(&gaps).map(|(own, gap)| own.or(gap.as_f64().map(|g| 0.25 * g))).collect();
        assert_eq!(margins, expected, "{name}");
    }
    assert!(Layout::ALL.iter().all(|layout| layouts.contains(layout)));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_however_it_was_written() {
    let (expected, ..) = read(&golden().join("columns-implicit.jsonl"), &ReadSettings::default());
    let mut written = 0;
    // `golden/make_parquet.py` makes these.
    for entry in std::fs::read_dir(golden().with_file_name("parquet")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("bad-") {
            assert_eq!(read(&path, &ReadSettings::default()).0, expected, "{}", path.display());
            written += 1;
        }
    }
    assert_eq!(written, 10);
}

#[test]
fn ties_and_limits_are_counted() {
    let of = |name: &str, settings: &ReadSettings| read(&golden().join(name), settings).1;
    let default = ReadSettings::default();
    assert_eq!(of("pandalm.jsonl", &default).ties, 2);
    assert_eq!(of("pandalm.jsonl", &default).blank_answers, 1, "an empty answer that people judged");
    assert_eq!(of("autoj.jsonl", &default).ties, 1);
    assert_eq!(of("columns.jsonl", &default).ties, 1);
    let wide = ReadSettings { min_score_gap: 2.0, ..default.clone() };
    // Scores 5, 7.5, 5 and 8.5 - i: gaps of 0; 2.5 twice; 3.5 - i twice; and 1 - i, whatever their sign.
    let ties = |i: i32| 1 + 2 * u64::from((3.5 - f64::from(i)).abs() < 2.0) + u64::from((1 - i).abs() < 2);
    assert_eq!(of("ultra_feedback.jsonl", &wide).ties, (0..5).map(ties).sum::<u64>());
    let all_ties = PreferenceFile::open(golden().join("columns.jsonl"), &wide).unwrap().read_all().unwrap_err();
    assert!(all_ties.to_string().contains("none of its 5 rows gives one, as all 5 comparisons in them are ties"));
    let one = ReadSettings { max_pairs_per_prompt: 1, ..default };
    let summary = of("reward_bench-2.jsonl", &one);
    assert_eq!((summary.pairs, summary.over_pair_limit), (5, 10));
}

#[test]
fn the_last_round_of_a_conversation_can_stand_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ReadSettings { last_round_only: true, ..ReadSettings::default() };
    let first = |text: &str| {
        let path = folder.path().join("pairs.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path, &settings).0.remove(0).pair
    };
    let dialogue = "\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant:";
    let pair = first(&format!(r#"{{"chosen": "{dialogue} d", "rejected": "{dialogue} e"}}"#));
    assert_eq!(pair.prompt, [ser_core::Message::user("c")]);
    assert_eq!(pair.responses, ["d", "e"]);
    let raw = |answer: &str| format!("\n\nHuman: c\n\nAssistant: {answer}");
    assert_eq!(pair.raw, ser_core::RawText::Whole([raw("d"), raw("e")]));
    // One exchange gives the same pair as before, and so do messages.
    let one = r#"{"chosen": "\n\nHuman: c\n\nAssistant: d", "rejected": "\n\nHuman: c\n\nAssistant: e"}"#;
    assert_eq!(first(one), pair);
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let prompt = [turn("user", "a"), turn("assistant", "b"), turn("user", "c")];
    let messages = json!({"prompt": prompt, "chosen": [turn("assistant", "d")], "rejected": [turn("assistant", "e")]});
    assert_eq!(first(&messages.to_string()).prompt, [ser_core::Message::user("c")]);
}
