//! Prompts, system turns, messages and odd numbers of rows with `chosen` and `rejected`, as public data sets have them.

#![allow(clippy::unwrap_used)]

use ser_core::{Message, Preference, Role, Side};
use ser_data::{DataError, OnBadRow, PreferenceFile, ReadSettings, ReadSummary, RowPosition};
use serde_json::{Value, json};

fn read_with(rows: &str, settings: &ReadSettings) -> Result<(Vec<Preference>, ReadSummary), DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows).unwrap();
    PreferenceFile::open(&path, settings)?.read_all()
}

fn read(row: &Value) -> Result<(Vec<Preference>, ReadSummary), DataError> {
    read_with(&row.to_string(), &ReadSettings::default())
}

/// Adds the two answers to a row.
fn answered(mut row: Value) -> Value {
    let columns = row.as_object_mut().unwrap();
    columns.entry("chosen").or_insert_with(|| "Pear.".into());
    columns.entry("rejected").or_insert_with(|| "Rock.".into());
    row
}

/// Roles and contents of the prompt of a row's only pair.
fn prompt(row: &Value) -> Vec<(Role, String)> {
    let (pairs, _) = read(row).map_err(|error| format!("{row}: {error}")).unwrap();
    assert_eq!(pairs.len(), 1);
    pairs[0].pair.prompt.iter().map(|turn| (turn.role, turn.content.clone())).collect()
}

fn turns(turns: &[(Role, &str)]) -> Vec<(Role, String)> {
    turns.iter().map(|(role, text)| (*role, (*text).to_string())).collect()
}

#[test]
fn known_prompt_columns_are_read() {
    let question = turns(&[(Role::User, "Name a fruit.")]);
    for column in [
        "prompt",
        "Prompt",
        "PROMPT",
        "question",
        "Question",
        "query",
        "input",
        "user",
        "post",
        "text",
        "context",
        "instruction",
        "instruction_text",
        "user_prompt",
        "history",
    ] {
        assert_eq!(prompt(&answered(json!({column: "Name a fruit.", "id": 3}))), question, "{column}");
    }
    let messages = json!([{"role": "user", "content": "Name a fruit."}]);
    for column in ["prompt", "messages", "context", "context_messages", "history", "conversations", "trajectory"] {
        assert_eq!(prompt(&answered(json!({column: messages.clone()}))), question, "{column}");
    }
    // A blank or null column is passed over for another.
    assert_eq!(prompt(&answered(json!({"prompt": null, "instruction": " ", "query": "Name a fruit."}))), question);
    let system =
        answered(json!({"system": "Be brief.", "question": "Name a fruit.", "generations": ["a b"], "rating": [9]}));
    assert_eq!(prompt(&system), turns(&[(Role::System, "Be brief."), (Role::User, "Name a fruit.")]));
}

#[test]
fn earlier_turns_and_the_last_question_are_joined() {
    let (q, a, now) = ((Role::User, "Hi"), (Role::Assistant, "Hello"), (Role::User, "Name a fruit."));
    let list = |n: usize| {
        let all = [("user", "Hi"), ("assistant", "Hello"), ("user", "Name a fruit.")];
        all[..n].iter().map(|(role, text)| json!({"role": role, "content": text})).collect::<Value>()
    };
    for row in [
        json!({"history": list(2), "prompt": "Name a fruit."}),
        json!({"history": [["Hi", "Hello"]], "question": "Name a fruit."}),
        json!({"history": list(3), "prompt": "Name a fruit."}),
        json!({"messages": list(3), "prompt": "Name a fruit."}),
        json!({"messages": list(2), "prompt": "Name a fruit."}),
        json!({"history": list(2), "prompt": [{"role": "user", "content": "Name a fruit."}]}),
    ] {
        assert_eq!(prompt(&answered(row.clone())), turns(&[q, a, now]), "{row}");
    }
    let joined = answered(json!({"instruction": "Add.", "input": "1 1"}));
    assert_eq!(prompt(&joined), turns(&[(Role::User, "Add.\n\n1 1")]));
    // UltraFeedback binarized: the prompt three times over, once with the answer.
    let user = json!({"role": "user", "content": "Hi"});
    let said = |text: &str| json!({"role": "assistant", "content": text});
    let binarized = json!({"prompt": "Hi", "messages": [user, said("a")], "chosen": [user, said("a")],
        "rejected": [user, said("b")], "prompt_id": "0f"});
    assert_eq!(prompt(&binarized), turns(&[q]));
    let (_, summary) = read(&binarized).unwrap();
    assert_eq!(summary.unread_columns.iter().collect::<Vec<_>>(), ["prompt_id"]);
    let texts = json!({"prompt": "Hi", "messages": [user, said("a")], "chosen": "a", "rejected": "b", "text": "a"});
    assert_eq!(prompt(&texts), turns(&[q]));
}

#[test]
fn unread_text_is_refused_unless_the_settings_allow_it() {
    let row = answered(json!({"frage": "Name a fruit.", "id": "x-1", "source": "the web", "length": 3}));
    let error = read(&row).unwrap_err().to_string();
    assert!(
        error.contains("rows.jsonl, line 1: no column with a known name contains the prompt, but `frage` could;"),
        "{error}"
    );
    assert!(error.ends_with(
        "name the prompt's column as data.prompt_column, or list the columns to ignore in data.ignore_columns"
    ));
    assert_eq!(error.lines().count(), 1);
    let skip = ReadSettings { on_bad_row: OnBadRow::Skip, ..ReadSettings::default() };
    let error = read_with(&row.to_string(), &skip).unwrap_err().to_string();
    assert!(error.contains("`frage`") && error.contains("data.prompt_column"), "{error}");

    let named = ReadSettings { prompt_column: Some("frage".into()), ..ReadSettings::default() };
    let (pairs, summary) = read_with(&row.to_string(), &named).unwrap();
    assert_eq!(pairs[0].pair.prompt, [Message::user("Name a fruit.")]);
    assert_eq!(summary.unread_columns.iter().collect::<Vec<_>>(), ["length", "source"]);
    let ignored = ReadSettings { ignore_columns: vec!["frage".into()], ..ReadSettings::default() };
    let (pairs, summary) = read_with(&row.to_string(), &ignored).unwrap();
    assert!(pairs[0].pair.prompt.is_empty() && !summary.unread_columns.contains("frage"));

    let two = answered(json!({"question": "Why is it so?", "context": "It is raining today."}));
    let error = read(&two).unwrap_err().to_string();
    assert!(error.contains("`question` and `context` could each be the prompt, and they differ; name"), "{error}");
    let one = ReadSettings { ignore_columns: vec!["context".into()], ..ReadSettings::default() };
    assert_eq!(read_with(&two.to_string(), &one).unwrap().0[0].pair.prompt, [Message::user("Why is it so?")]);

    let absent = ReadSettings { prompt_column: Some("frag".into()), ..ReadSettings::default() };
    let error = read_with(&row.to_string(), &absent).unwrap_err().to_string();
    assert!(error.contains("`frag` (data.prompt_column) is not a prompt: the row does not have it"), "{error}");
}

#[test]
fn metadata_beside_a_prompt_is_reported_once_and_never_refused() {
    let row = answered(json!({"prompt": "Hi", "note": "a long free text about it", "source": "s", "score": 1.5}));
    let (pairs, summary) = read_with(&format!("{row}\n{row}\n"), &ReadSettings::default()).unwrap();
    assert_eq!(pairs.len(), 2);
    assert_eq!(summary.unread_columns.iter().collect::<Vec<_>>(), ["note", "score", "source"]);
    let row = answered(json!({"prompt": "Hi", "user": "bob", "post": "t3_ab", "context": "reddit"}));
    assert_eq!(prompt(&row), turns(&[(Role::User, "Hi")]));
    assert_eq!(read(&row).unwrap().1.unread_columns.iter().collect::<Vec<_>>(), ["context", "post", "user"]);
    // Dialogues and conversations contain their prompt.
    let dialogue = |answer: &str| format!("\n\nHuman: Why?\n\nAssistant: {answer}");
    let row = json!({"chosen": dialogue("So."), "rejected": dialogue("No."), "remark": "some free text"});
    assert!(read(&row).unwrap().1.unread_columns.contains("remark"));
    // Whole texts whose common beginning contains the question.
    let row = json!({"chosen": "Q: Why is it? A: So.", "rejected": "Q: Why is it? A: No.", "frage": "Why is it?"});
    assert_eq!(prompt(&row), turns(&[(Role::User, "Q: Why is it? A:")]));
}

#[test]
fn system_columns_and_turns_stand_before_the_conversation() {
    let expected = turns(&[(Role::System, "Speak French."), (Role::User, "Hello")]);
    let user = json!({"role": "user", "content": "Hello"});
    let system = json!({"role": "system", "content": "Speak French."});
    let said = |text: &str| json!({"role": "assistant", "content": text});
    let conversation = |text: &str| json!([user, said(text)]);
    for row in [
        json!({"system": "Speak French.", "prompt": "Hello", "chosen": "Bonjour", "rejected": "Hi"}),
        json!({"system_prompt": "Speak French.", "question": "Hello", "chosen": said("Bonjour"), "rejected": said("Hi")}),
        json!({"system": "Speak French.", "chosen": conversation("Bonjour"), "rejected": conversation("Hi")}),
        json!({"prompt": [system, user], "chosen": conversation("Bonjour"), "rejected": conversation("Hi")}),
        json!({"prompt": [system, user], "chosen": [said("Bonjour")], "rejected": [said("Hi")]}),
        json!({"prompt": [system], "chosen": conversation("Bonjour"), "rejected": conversation("Hi")}),
        json!({"system": "Speak French.", "chosen": [system, user, said("a")], "rejected": [system, user, said("b")]}),
        json!({"system": "Speak French.", "chosen": "\n\nHuman: Hello\n\nAssistant: a", "rejected": "\n\nHuman: Hello\n\nAssistant: b"}),
        json!({"system": "Speak French.", "conversations": [user], "chosen": said("a"), "rejected": said("b")}),
        json!({"system": "Speak French.", "prompt": "Hello", "subset": "chat", "chosen": ["a"], "rejected": ["b"]}),
    ] {
        assert_eq!(prompt(&row), expected, "{row}");
    }
    assert_eq!(prompt(&answered(json!({"system": " ", "prompt": "Hello"}))), turns(&[(Role::User, "Hello")]));
    let other =
        json!({"system": "Be kind.", "chosen": [system, user, said("a")], "rejected": [system, user, said("b")]});
    let error = read(&other).unwrap_err().to_string();
    assert!(error.contains("the system column and the system turn of the conversation differ"), "{error}");
}

#[test]
fn messages_of_many_forms_give_the_same_pair() {
    let texts = json!({"prompt": "Hello", "chosen": "Yes", "rejected": "No"});
    let expected = read(&texts).unwrap().0.remove(0);
    let of = |speaker: &str, text: &str, user: &str, model: &str| {
        let turn = |who: &str, said: &str| json!({speaker: who, text: said});
        json!({"chosen": [turn(user, "Hello"), turn(model, "Yes")], "rejected": [turn(user, "Hello"), turn(model, "No")]})
    };
    let part = |text: &str| json!([{"type": "text", "text": text}]);
    let yes = json!({"role": "assistant", "content": "Yes"});
    let no = json!({"role": "assistant", "content": "No"});
    for row in [
        of("role", "content", "user", "ASSISTANT"),
        of("role", "content", "Human", "bot"),
        of("role", "content", "USER", "model"),
        of("role", "content", "prompter", "chatbot"),
        of("from", "value", "human", "gpt"),
        json!({"prompt": [{"role": "user", "content": part("Hello")}], "chosen": [{"role": "assistant", "content": part("Yes")}],
            "rejected": [{"role": "assistant", "content": part("No")}]}),
        json!({"conversations": [{"role": "user", "content": "Hello"}], "chosen": yes, "rejected": no}),
        json!({"messages": [{"from": "human", "value": "Hello"}], "chosen": yes, "rejected": no}),
        json!({"prompt": "Hello", "chosen": yes, "rejected": no}),
        json!({"prompt": "Hello", "chosen": [yes], "rejected": {"from": "gpt", "value": "No"}}),
    ] {
        let (mut found, summary) = read(&row).unwrap_or_else(|error| panic!("{row}: {error}"));
        let found = found.remove(0).pair;
        assert!(summary.unread_columns.is_empty(), "{row}: {summary:?}");
        assert_eq!((&found.prompt, &found.responses), (&expected.pair.prompt, &expected.pair.responses), "{row}");
        assert_eq!(found.response_turns, None, "{row}");
    }
}

#[test]
fn tools_and_thoughts_are_kept_for_templates() {
    let user = json!({"role": "user", "content": "Weather?"});
    let calls = json!([{"type": "function", "function": {"name": "w", "arguments": {"c": "Oslo"}}}]);
    let row = json!({
        "chosen": [user, {"role": "assistant", "content": null, "tool_calls": calls}, {"role": "tool", "content": "cold"},
            {"role": "assistant", "content": "Cold."}],
        "rejected": [user, {"role": "assistant", "content": "Hot.", "reasoning_content": "Guess."}],
    });
    let pair = read(&row).unwrap().0.remove(0).pair;
    assert_eq!(pair.prompt, [Message::user("Weather?")]);
    let chosen = pair.turns(Side::A);
    assert_eq!(chosen.iter().map(|turn| turn.role).collect::<Vec<_>>(), [Role::Assistant, Role::Tool, Role::Assistant]);
    assert_eq!((&chosen[0].extra["tool_calls"], chosen[0].content.as_str()), (&calls, ""));
    assert_eq!(pair.turns(Side::B)[0].extra["reasoning_content"], "Guess.");
    assert_eq!(pair.responses[0], format!("{calls}\n\nTool: cold\n\nAssistant: Cold."));
    assert_eq!(pair.responses[1], "Hot.");

    // Tools before the answer are part of the prompt.
    let of = |text: &str| json!([user, {"role": "tool", "content": "cold"}, {"role": "assistant", "content": text}]);
    let pair = read(&json!({"chosen": of("Cold."), "rejected": of("Hot.")})).unwrap().0.remove(0).pair;
    assert_eq!(pair.prompt, [Message::user("Weather?"), Message::new(Role::Tool, "cold")]);
    assert_eq!(pair.response_turns, None);
    // Fields that no template renders are reported.
    let row = json!({"prompt": "q", "chosen": [{"role": "assistant", "content": "a", "weight": 1}],
        "rejected": {"role": "assistant", "content": "b", "weight": null}});
    assert_eq!(read(&row).unwrap().1.unread_columns.iter().collect::<Vec<_>>(), ["chosen[].weight"]);
    // A call alone is an answer.
    let row = json!({"prompt": "Weather?", "chosen": {"role": "assistant", "content": null, "tool_calls": calls}, "rejected": {"role": "assistant", "content": "Hot."}});
    assert_eq!(read(&row).unwrap().0[0].pair.responses[0], calls.to_string());
}

#[test]
fn conversations_that_part_early_keep_their_turns() {
    let turn = |(role, content): &(&str, &str)| json!({"role": role, "content": content});
    let list = |turns: &[(&str, &str)]| turns.iter().map(turn).collect::<Value>();
    let early = json!({
        "chosen": list(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]),
        "rejected": list(&[("user", "a"), ("assistant", "x"), ("user", "thanks")]),
    });
    let pair = read(&early).unwrap().0.remove(0).pair;
    assert_eq!((pair.prompt.as_slice(), pair.turns(Side::A).len()), ([Message::user("a")].as_slice(), 3));
    assert_eq!(pair.turns(Side::B).as_ref(), [Message::assistant("x"), Message::user("thanks")]);
    let twice = |answer| list(&[("user", "a"), ("user", "a2"), ("assistant", answer)]);
    let pair = read(&json!({"chosen": twice("b"), "rejected": twice("x")})).unwrap().0.remove(0).pair;
    assert_eq!(pair.prompt, [Message::user("a"), Message::user("a2")], "templates decide about turns of one speaker");
}

#[test]
fn llama_factorys_rows_are_read_with_their_errors() {
    let gpt = |text: &str| json!({"from": "gpt", "value": text});
    let row = json!({"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Why?"}],
        "chosen": gpt("So."), "rejected": gpt("No.")});
    assert_eq!(prompt(&row), turns(&[(Role::System, "Be kind."), (Role::User, "Why?")]));
    let row = json!({"instruction": "Add.", "input": "1 1", "chosen": "2", "rejected": "3", "system": "",
        "history": [["a", "b"]]});
    assert_eq!(prompt(&row), turns(&[(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "Add.\n\n1 1")]));
    for (row, words) in [
        (json!({"conversations": [], "chosen": gpt(""), "rejected": gpt("b")}), "the answer in `chosen` is empty"),
        (json!({"instruction": "i", "chosen": "a", "rejected": "b", "history": ["x"]}), "`history[]` is the text"),
        (
            json!({"conversations": [{"from": "function_call", "value": ""}], "chosen": gpt("a"), "rejected": gpt("b")}),
            "`conversations` has a turn of role \"function_call\", but only system (developer), user",
        ),
        (
            json!({"instruction": "i", "chosen": "a", "rejected": gpt("b")}),
            "`rejected` is a list of messages, but text",
        ),
    ] {
        let error = read(&row).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn numbers_that_are_not_finite_matter_where_they_are_used() {
    let rows = "{\"prompt\":\"q NaN\",\"chosen\":\"a\",\"rejected\":\"b\",\"rating\":NaN}\n\
                {\"prompt\":\"q2\",\"chosen\":\"a\",\"rejected\":\"b\",\"rating\":[Infinity, -Infinity]}\n";
    let (pairs, summary) = read_with(rows, &ReadSettings::default()).unwrap();
    assert_eq!((pairs.len(), pairs[0].pair.prompt[0].content.as_str()), (2, "q NaN"));
    assert!(summary.unread_columns.contains("rating"));
    for (used, said) in [
        ("\"margin\": NaN", "`margin` is NaN, but a number is expected"),
        ("\"score_chosen\": -Infinity", "`score_chosen` is -Infinity, but"),
        ("\"system\": NaN", "`system` is NaN, but text"),
    ] {
        let row = format!("{{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", {used}}}");
        let error = read_with(&row, &ReadSettings::default()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn every_pair_names_its_row() {
    let rows = "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\",\"id\":\"first\"}\n\n\
                {\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":null}\n\
                {\"prompt\":\"d\",\"chosen\":\"e\",\"rejected\":\"f\",\"score_chosen\":3,\"score_rejected\":3}\n\
                {\"prompt\":\"g\",\"chosen\":\"h\",\"rejected\":\"i\",\"uuid\":17}\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows).unwrap();
    let settings = ReadSettings { on_bad_row: OnBadRow::Skip, ..ReadSettings::default() };
    let mut file = PreferenceFile::open(&path, &settings).unwrap();
    let mut origins = Vec::new();
    while let Some((preference, origin)) = file.next_with_origin().unwrap() {
        assert_eq!((preference.pair.id.0, origin.file.as_ref()), (origin.row, path.as_path()));
        origins.push((origin.row, origin.position, origin.id));
    }
    assert_eq!(origins, [(0, RowPosition::Line(1), Some(json!("first"))), (3, RowPosition::Line(5), Some(json!(17)))]);
    let summary = file.summary();
    assert_eq!(
        (summary.skipped_rows[0].position, summary.tied_rows[0].position),
        (RowPosition::Line(3), RowPosition::Line(4))
    );
    assert_eq!((summary.ties, summary.tied_rows.len()), (1, 1));
    let notes = summary.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("rows left out: 1 (line 3: `rejected` is null, but"), "{notes:?}");
    assert_eq!(notes[1], "ties left out: 1 (line 4: neither answer is better)");
}

#[cfg(feature = "parquet")]
#[test]
fn columns_of_parquet_files_are_reported_and_refused_alike() {
    // `golden/make_layouts.py` writes the layouts; the binarized one has columns that nothing reads.
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts/columns.parquet");
    let (_, summary) = PreferenceFile::open(golden, &ReadSettings::default()).unwrap().read_all().unwrap();
    assert_eq!(summary.unread_columns.iter().collect::<Vec<_>>(), ["prompt_id"]);
}
