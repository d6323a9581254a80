//! Tokens and chat templates against Hugging Face transformers (tests/golden/make_tokens.py).

#![cfg(feature = "tokenizers")]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{Message, Pair, PairId, RawText, Role, Screening, Side};
use ser_data::{DataError, PairTokenizer, PreferenceFile, ReadSettings, TemplateKind, TextSettings, authors_code_text};
use serde::Deserialize;

const FOLDERS: [&str; 2] = ["byte_level", "byte_fallback"];

#[derive(Deserialize)]
struct Golden {
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    length: usize,
    texts: Vec<TextCase>,
    chats: Vec<ChatCase>,
}

#[derive(Deserialize)]
struct TextCase {
    text: String,
    ids: Vec<u32>,
    bare: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct ChatCase {
    name: String,
    template: Option<String>,
    messages: Vec<Message>,
    text: String,
    ids: Vec<u32>,
    prompt_ids: Option<Vec<u32>>,
}

fn golden(folder: &str) -> (PathBuf, Golden) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all: std::collections::HashMap<String, Golden> =
        serde_json::from_slice(&std::fs::read(path.join("tokens.json")).unwrap()).unwrap();
    (path.join(folder), all.remove(folder).unwrap())
}

fn settings(template: TemplateKind) -> TextSettings {
    TextSettings { template, ..TextSettings::default() }
}

#[test]
fn raw_texts_have_the_tokens_of_transformers() {
    for name in FOLDERS {
        let (folder, golden) = golden(name);
        let tokenizer = PairTokenizer::from_folder(&folder, &settings(TemplateKind::Raw)).unwrap();
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (golden.bos_id, golden.eos_id));
        assert_eq!(tokenizer.vocab_size(), golden.length);
        for case in &golden.texts {
            assert_eq!(tokenizer.encode(&case.text, true).unwrap(), case.ids, "{name}: {:?}", case.text);
            assert_eq!(tokenizer.encode(&case.text, false).unwrap(), case.bare, "{name}: {:?}", case.text);
            assert_eq!(tokenizer.decode(&case.ids).unwrap(), case.decoded, "{name}");
        }
        // Pairs of whole texts, every text with every other, in parallel.
        let cases = || golden.texts.iter().flat_map(|a| golden.texts.iter().map(move |b| (a, b)));
        let pairs: Vec<Arc<Pair>> = (0..)
            .zip(cases())
            .map(|(id, (a, b))| {
                let raw = RawText::Whole([a.text.clone(), b.text.clone()]);
                Arc::new(Pair { raw, ..Pair::from_text(PairId(id), "", "x", "y") })
            })
            .collect();
        for (tokens, (a, b)) in tokenizer.tokenize(&pairs).unwrap().iter().zip(cases()) {
            assert_eq!((tokens.text(Side::A), tokens.text(Side::B)), (a.ids.clone(), b.ids.clone()));
        }
    }
}

#[test]
fn chat_templates_give_the_tokens_of_transformers() {
    for name in FOLDERS {
        let (folder, golden) = golden(name);
        for case in &golden.chats {
            let copy = tempfile::tempdir().unwrap();
            for file in std::fs::read_dir(&folder).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            if let Some(template) = &case.template {
                std::fs::write(copy.path().join("chat_template.jinja"), template).unwrap();
            }
            let what = format!("{name}, {}: {:?}", case.name, case.text);
            let tokenizer = PairTokenizer::from_folder(copy.path(), &settings(TemplateKind::Chat)).expect(&what);
            let (last, prompt) = case.messages.split_last().unwrap();
            assert_eq!(last.role, Role::Assistant);
            let both = tokenizer.tokenize_response(prompt, &last.content).expect(&what);
            assert_eq!(tokenizer.encode(&case.text, false).unwrap(), case.ids, "{what}");
            assert_eq!(both.tokens, case.ids, "{what}");
            if let Some(prompt_ids) = &case.prompt_ids {
                assert_eq!(&tokenizer.encode_prompt(prompt).unwrap(), prompt_ids, "{what}");
                assert!(case.ids.starts_with(prompt_ids) && both.prompt_len == prompt_ids.len(), "{what}");
            }
            // The other answer does not change this one's text.
            let pair = Pair {
                id: PairId(0),
                prompt: prompt.to_vec(),
                responses: [last.content.clone(), "No.".into()],
                response_turns: None,
                raw: RawText::None,
            };
            assert_eq!(tokenizer.tokenize_pair(&pair).unwrap().text(Side::A), case.ids, "{what}");
        }
    }
}

#[test]
fn authors_code_texts_end_with_one_end_token() {
    for name in FOLDERS {
        let (folder, _) = golden(name);
        let tokenizer = PairTokenizer::from_folder(&folder, &TextSettings::default()).unwrap();
        let prompt = [Message::user("Why does bread rise?")];
        let text = tokenizer.encode(&authors_code_text(&prompt, "Because of yeast."), true).unwrap();
        let both = tokenizer.tokenize_response(&prompt, "Because of yeast.").unwrap();
        assert_eq!(both.tokens, [text, vec![tokenizer.eos_id().unwrap()]].concat());
        let asked = tokenizer.encode_prompt(&prompt).unwrap();
        let (prompt_tokens, response_tokens) = both.tokens.split_at(both.prompt_len);
        // Without a pre-tokenizer, `byte_fallback` joins the colon with what follows; the response then begins there.
        let joined = usize::from(name == "byte_fallback");
        assert_eq!(prompt_tokens, &asked[..asked.len() - joined], "{name}");
        let response = tokenizer.decode(response_tokens).unwrap();
        assert_eq!(response.trim_start_matches(':').trim(), "Because of yeast.", "{name}");
        let without = TextSettings { append_eos: false, ..TextSettings::default() };
        let without = PairTokenizer::from_folder(&folder, &without).unwrap();
        assert_eq!(
            without.tokenize_response(&prompt, "Because of yeast.").unwrap().tokens,
            both.tokens[..both.tokens.len() - 1]
        );
    }
}

#[test]
fn pairs_are_screened() {
    let (folder, _) = golden("byte_level");
    let settings = TextSettings { max_length: Some(40), ..TextSettings::default() };
    let tokenizer = PairTokenizer::from_folder(&folder, &settings).unwrap();
    let pairs: Vec<Arc<Pair>> = [("So.", "No."), ("So.", "So."), (" ", "No."), ("So.", &"very long ".repeat(20))]
        .into_iter()
        .map(|(a, b)| Arc::new(Pair::from_text(PairId(0), "Why?", a, b)))
        .collect();
    let expected = [Screening::Usable, Screening::Identical, Screening::Empty, Screening::TooLong];
    assert_eq!(tokenizer.screen_pairs(&pairs).unwrap(), expected);
    let tokens = tokenizer.tokenize(&pairs).unwrap();
    let of_tokens = tokenizer.screen(&tokens);
    assert_eq!(
        (of_tokens[1], of_tokens[2], of_tokens[3]),
        (Screening::Identical, Screening::Usable, Screening::TooLong)
    );
    // The limit is the last length that fits.
    let longest = tokens[0].text_len(Side::A).max(tokens[0].text_len(Side::B));
    for (limit, expected) in [(longest, Screening::Usable), (longest - 1, Screening::TooLong)] {
        let settings = TextSettings { max_length: Some(limit), ..settings.clone() };
        let tokenizer = PairTokenizer::from_folder(&folder, &settings).unwrap();
        assert_eq!(tokenizer.screen(&tokens[..1]), [expected]);
    }
    let raw = PairTokenizer::from_folder(&folder, &TextSettings { template: TemplateKind::Raw, ..settings }).unwrap();
    let nothing = Pair::from_text(PairId(0), "", "", "x");
    assert_eq!(raw.screen(&[raw.tokenize_pair(&nothing).unwrap()]), [Screening::Empty]);
}

#[test]
fn requests_that_cannot_be_met_are_errors() {
    let (folder, _) = golden("byte_fallback");
    let chat = PairTokenizer::from_folder(&folder, &settings(TemplateKind::Chat)).unwrap();
    let twice =
        Pair { prompt: vec![Message::user("a"), Message::user("b")], ..Pair::from_text(PairId(7), "", "x", "y") };
    let error = chat.tokenize(&[Arc::new(twice)]).unwrap_err().to_string();
    assert!(error.contains("pair 7") && error.contains("roles must alternate"), "{error}");

    let raw = PairTokenizer::from_folder(&folder, &settings(TemplateKind::Raw)).unwrap();
    let messages = Pair { raw: RawText::None, ..Pair::from_text(PairId(3), "q", "x", "y") };
    let error = raw.tokenize_pair(&messages).unwrap_err().to_string();
    assert!(error.contains("pair 3 has messages") && error.contains("--template chat"), "{error}");
    assert!(matches!(raw.encode_prompt(&[]), Err(DataError::NoRawText { .. })));

    let empty = tempfile::tempdir().unwrap();
    let missing = PairTokenizer::from_folder(empty.path(), &TextSettings::default()).unwrap_err().to_string();
    assert!(missing.starts_with("there is no ") && missing.contains("tokenizer.json"), "{missing}");
    std::fs::copy(folder.join("tokenizer.json"), empty.path().join("tokenizer.json")).unwrap();
    let bare = |template| PairTokenizer::from_folder(empty.path(), &settings(template));
    assert!(matches!(bare(TemplateKind::AuthorsCode), Err(DataError::NoEndToken { .. })));
    assert!(matches!(bare(TemplateKind::Chat), Err(DataError::NoChatTemplate { .. })));
    bare(TemplateKind::Raw).unwrap();
    std::fs::write(empty.path().join("chat_template.jinja"), "{% if %}").unwrap();
    let error = bare(TemplateKind::Chat).unwrap_err().to_string();
    assert!(error.contains("does not compile") && error.contains("line 1"), "{error}");
    std::fs::write(empty.path().join("tokenizer.json"), "{").unwrap();
    assert!(matches!(bare(TemplateKind::Raw), Err(DataError::ModelFile { .. })));
}

/// A real tokenizer and a real file, where they are available; threads do not matter.
#[test]
fn real_pairs_through_a_real_tokenizer() {
    let Some(model) = support::shared("models/stories260k") else { return };
    let Some(data) = support::shared("data/hh-rlhf-harmless-base-test.jsonl.gz") else { return };
    let (all, _) = PreferenceFile::open(&data, &ReadSettings::default()).unwrap().read_all().unwrap();
    let pairs: Vec<Arc<Pair>> = all.iter().take(300).map(|preference| Arc::clone(&preference.pair)).collect();
    for template in [TemplateKind::Raw, TemplateKind::AuthorsCode] {
        let tokenizer = PairTokenizer::from_folder(&model, &settings(template)).unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.bos_id(), tokenizer.eos_id()), (512, Some(1), Some(2)));
        let parallel = tokenizer.tokenize(&pairs).unwrap();
        let one_by_one: Vec<_> = pairs.iter().map(|pair| tokenizer.tokenize_pair(pair).unwrap()).collect();
        assert_eq!(parallel, one_by_one);
        assert!(parallel.iter().all(|tokens| tokens.prompt.first() == Some(&1)));
        let screened = tokenizer.screen_pairs(&pairs).unwrap();
        let longest = |tokens: &ser_data::TokenizedPair| tokens.text_len(Side::A).max(tokens.text_len(Side::B));
        for ((pair, tokens), screening) in pairs.iter().zip(&parallel).zip(screened) {
            let blank = pair.responses.iter().any(|response| response.trim().is_empty());
            assert_eq!(screening == Screening::Empty, blank);
            assert_eq!(screening == Screening::TooLong, !blank && longest(tokens) > 512);
        }
    }
}

#[test]
fn every_turn_of_the_assistant_is_found_with_the_token_that_ends_it() {
    let prompt = [
        Message::user("Which river?"),
        Message::assistant("The Danube."),
        Message::user("Which river? Not The Danube."),
        Message::assistant("So the Rhine."),
        Message::user("And?"),
    ];
    for name in FOLDERS {
        let (folder, _) = golden(name);
        let tokenizer = PairTokenizer::from_folder(&folder, &settings(TemplateKind::AuthorsCode)).unwrap();
        let whole = tokenizer.tokenize_conversation(&prompt, "Yes.").unwrap();
        let last = tokenizer.tokenize_response(&prompt, "Yes.").unwrap();
        assert_eq!(whole.tokens, last.tokens);
        let texts: Vec<String> = whole
            .answers
            .iter()
            .map(|a| tokenizer.decode(&whole.tokens[a.clone()]).unwrap().trim().to_owned())
            .collect();
        assert_eq!(texts[..2], ["The Danube.", "So the Rhine."], "{name}");
        // Where the prompt's end and the answer's beginning are one token, it is the answer's.
        assert!(texts[2].ends_with("Yes.") && texts[2].len() <= ": Yes.".len(), "{name}: {}", texts[2]);
        assert_eq!(whole.answers[2], last.prompt_len..last.tokens.len());
        let single = tokenizer.tokenize_conversation(&prompt[..1], "Yes.").unwrap();
        assert_eq!(single.answers.len(), 1);
    }
}

/// A conversation that goes on for several turns after the prompt is rendered whole.
#[test]
fn answers_of_several_turns_are_turns_of_the_chat_template() {
    for name in FOLDERS {
        let (folder, golden) = golden(name);
        let tokenizer = PairTokenizer::from_folder(&folder, &settings(TemplateKind::Chat)).unwrap();
        let cases = golden.chats.iter().filter(|case| case.name == "own" && case.messages.len() > 2);
        for case in cases {
            let (first, rest) = case.messages.split_first().unwrap();
            let other = vec![Message::assistant("x"), Message::user("y"), Message::assistant("e")];
            let other = if first.role == Role::System {
                [vec![Message::user("q")], other[..1].to_vec()].concat()
            } else {
                other
            };
            let pair = Pair {
                prompt: vec![first.clone()],
                response_turns: Some(Box::new([rest.to_vec(), other])),
                raw: RawText::None,
                ..Pair::from_text(PairId(0), "", "flat", "text")
            };
            let tokens = tokenizer.tokenize_pair(&pair).unwrap();
            assert_eq!(tokens.text(Side::A), case.ids, "{name}");
            // The prompt is what both conversations have in common.
            let b = tokens.text(Side::B);
            assert_eq!(tokens.prompt.len(), case.ids.iter().zip(&b).take_while(|(x, y)| x == y).count());
        }
    }
}

fn turns_pair(prompt: &[Message], a: Vec<Message>, b: Vec<Message>) -> Pair {
    Pair {
        prompt: prompt.to_vec(),
        response_turns: Some(Box::new([a, b])),
        raw: RawText::None,
        ..Pair::from_text(PairId(5), "", "flat a", "flat b")
    }
}

#[test]
fn conversations_may_end_with_the_user_where_the_template_allows_it() {
    let (folder, _) = golden("byte_level");
    let tokenizer = PairTokenizer::from_folder(&folder, &settings(TemplateKind::Chat)).unwrap();
    let said = |role, text: &str| Message::new(role, text);
    // ChatML takes turns as they come: two of the user, a last one of the user.
    let prompt = [said(Role::User, "a"), said(Role::User, "a2")];
    let a = vec![said(Role::Assistant, "b"), said(Role::User, "thanks")];
    let b = vec![said(Role::Assistant, "x"), said(Role::User, "no")];
    let tokens = tokenizer.tokenize_pair(&turns_pair(&prompt, a.clone(), b.clone())).unwrap();
    let text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\na<|im_end|>\n\
                <|im_start|>user\na2<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nthanks<|im_end|>\n";
    assert_eq!(tokens.text(Side::A), tokenizer.encode(text, false).unwrap());
    // Training on answers: the last turn of the assistant, every one of them, or all that follows the prompt.
    let pair = turns_pair(
        &prompt[..1],
        vec![said(Role::Assistant, "b"), said(Role::User, "c"), said(Role::Assistant, "d")],
        b.clone(),
    );
    let decode = |tokens: &[u32]| tokenizer.decode(tokens).unwrap();
    let last = tokenizer.tokenize_answer(&pair, Side::A).unwrap();
    assert_eq!(decode(&last.tokens[last.prompt_len..]), "d\n");
    let every = tokenizer.tokenize_answer_turns(&pair, Side::A).unwrap();
    let answers: Vec<String> = every.answers.iter().map(|positions| decode(&every.tokens[positions.clone()])).collect();
    assert_eq!((every.tokens == last.tokens, answers), (true, vec!["b".to_string(), "d\n".to_string()]));
    let all = tokenizer.tokenize_completion(&pair, Side::A).unwrap();
    assert_eq!(
        (all.tokens == last.tokens, decode(&all.tokens[all.prompt_len..])),
        (true, "b\nuser\nc\nassistant\nd\n".into())
    );
    // A last turn of the user carries no loss in SFT.
    let last = tokenizer.tokenize_answer(&pair, Side::B).unwrap();
    assert_eq!(decode(&last.tokens[last.prompt_len..]), "x\n");
    // Llama 2's template refuses two turns of one speaker, and says which pair.
    let (folder, _) = golden("byte_fallback");
    let strict = PairTokenizer::from_folder(&folder, &settings(TemplateKind::Chat)).unwrap();
    let error = strict.tokenize_pair(&turns_pair(&prompt, a, b)).unwrap_err().to_string();
    assert!(error.contains("pair 5") && error.contains("roles must alternate"), "{error}");
}

#[test]
fn reasoning_is_rendered_or_named() {
    let copy = tempfile::tempdir().unwrap();
    let (folder, _) = golden("byte_level");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    let template = "{% for m in messages %}{{ m.role }}:{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>\
                    {% endif %}{{ m.content }};{% endfor %}{{ strftime_now('%Y') }}";
    std::fs::write(copy.path().join("chat_template.jinja"), template).unwrap();
    let answer = |field: &str, reasoning: &str, text: &str| {
        let mut message = Message::assistant(text);
        message.extra.insert(field.to_string(), reasoning.into());
        vec![message]
    };
    let pair =
        turns_pair(&[Message::user("q")], answer("reasoning_content", "because", "a"), answer("thinking", "hm", "b"));
    let pairs = [Arc::new(pair)];
    let chat = PairTokenizer::from_folder(copy.path(), &settings(TemplateKind::Chat)).unwrap();
    let tokens = chat.tokenize_pair(&pairs[0]).unwrap();
    let text = |side| chat.decode(&tokens.text(side)).unwrap();
    assert_eq!(text(Side::A), "user:q;assistant:<think>because</think>a;2024");
    assert_eq!(text(Side::B), "user:q;assistant:<think>hm</think>b;2024");
    assert_eq!(
        chat.notes(&pairs).unwrap(),
        ["the chat template writes the date; text.date = 2024-07-26 stands for today"]
    );
    // Another day is a setting.
    let later = TextSettings { date: "2030-01-02".parse().unwrap(), ..settings(TemplateKind::Chat) };
    let later = PairTokenizer::from_folder(copy.path(), &later).unwrap();
    assert!(later.decode(&later.tokenize_pair(&pairs[0]).unwrap().text(Side::A)).unwrap().ends_with(";2030"));
    // ChatML has no position for reasoning, the authors_code template neither.
    for template in [TemplateKind::Chat, TemplateKind::AuthorsCode] {
        let tokenizer = PairTokenizer::from_folder(&folder, &settings(template)).unwrap();
        let notes = tokenizer.notes(&pairs).unwrap().join("\n");
        assert!(
            notes.contains("`reasoning_content` of 1 pairs is left out") && notes.contains("`thinking` of 1 pairs"),
            "{notes}"
        );
    }
}
