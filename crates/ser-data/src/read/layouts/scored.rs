//! Several scored answers to one question: every two with unequal scores make a pair.

use rand::seq::index::sample;
use ser_core::RawText;
use serde_json::Value;

use super::dialogue::open_dialogue;
use super::fields::{
    Row, is_missing, number, object, optional_number, require, take_answer, take_list, take_text, text,
};
use super::html::html_to_text;
use super::{LabelledPair, RowPairs};
use crate::RowProblem;
use crate::prompt_key::seeded_draw;
use crate::read::settings::ReadSettings;

/// Maximum number of answers to a question; more are not plausible and would take quadratic time.
const MOST_ANSWERS: usize = 1000;

/// UltraFeedback, original. A completion without a score or a text is left out.
pub(crate) fn read_ultra_feedback(mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(&row, &["instruction", "completions"])?;
    let instruction = take_text(&mut row, "instruction")?;
    let mut answers = Vec::new();
    for completion in take_list(&mut row, "completions")? {
        let mut completion = object("completions[]", completion)?;
        let score = optional_number(&completion, "overall_score")?;
        let response = take_text(&mut completion, "response")?;
        answers.push(score.filter(|_| !response.is_empty()).map(|score| (response, score)));
    }
    let pair = |chosen, rejected| LabelledPair::text(instruction.clone(), chosen, rejected);
    pairs("completions", &instruction, answers, settings, pair)
}

/// StackExchange preferences: HTML, converted to text. An answer with a null score is left out.
pub(crate) fn read_stack_exchange(mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(&row, &["question", "answers"])?;
    let question = html_to_text(&take_text(&mut row, "question")?);
    let mut answers = Vec::new();
    for answer in take_list(&mut row, "answers")? {
        let mut answer = object("answers[]", answer)?;
        let score = match answer.get("pm_score") {
            Some(score) if is_missing(score) => None,
            score => Some(number("answers[].pm_score", score.unwrap_or(&Value::Null))?),
        };
        let text = html_to_text(&text("answers[].text", answer.remove("text").unwrap_or(Value::Null))?);
        answers.push(score.map(|score| (text, score)));
    }
    let pair = |chosen, rejected| LabelledPair::text(question.clone(), chosen, rejected);
    pairs("answers", &question, answers, settings, pair)
}

/// Nectar: seven answers by rank, 1 the best. The prompt is a dialogue that ends where the answer begins.
pub(crate) fn read_nectar(mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(&row, &["prompt", "answers"])?;
    let prompt = take_text(&mut row, "prompt")?;
    let turns = open_dialogue("prompt", &prompt)?;
    let mut answers = Vec::new();
    for answer in take_list(&mut row, "answers")? {
        let mut answer = object("answers[]", answer)?;
        let rank = optional_number(&answer, "rank")?;
        let text = take_text(&mut answer, "answer")?;
        answers.push(rank.map(|rank| (text, -rank)));
    }
    let pair = |chosen: String, rejected: String| {
        let raw = RawText::Whole([format!("{prompt}{chosen}"), format!("{prompt}{rejected}")]);
        LabelledPair::new(turns.clone(), [chosen, rejected], raw)
    };
    pairs("answers", &prompt, answers, settings, pair)
}

/// StackExchange paired: `response_j` is the better answer.
pub(crate) fn read_stack_exchange_paired(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["question", "response_j", "response_k"])?;
    let question = take_text(&mut row, "question")?;
    let (better, worse) = (take_answer(&mut row, "response_j")?, take_answer(&mut row, "response_k")?);
    Ok(LabelledPair::text(question, better, worse).into())
}

/// Pairs of every two answers with unequal scores; an answer is a text and a score, or missing. If there are too many,
/// the drawn pairs depend only on `prompt`.
fn pairs(
    column: &'static str,
    prompt: &str,
    answers: Vec<Option<(String, f64)>>,
    settings: &ReadSettings,
    pair: impl Fn(String, String) -> LabelledPair,
) -> Result<RowPairs, RowProblem> {
    if answers.len() > MOST_ANSWERS {
        return Err(RowProblem::TooManyAnswers { column, count: answers.len(), limit: MOST_ANSWERS });
    }
    let unscored = answers.iter().filter(|answer| answer.is_none()).count() as u64;
    let answers: Vec<(String, f64)> = answers.into_iter().flatten().collect();
    let (mut unequal, mut ties) = (Vec::new(), 0);
    for (i, first) in answers.iter().enumerate() {
        for second in answers.iter().skip(i + 1) {
            let (better, worse) = if first.1 < second.1 { (second, first) } else { (first, second) };
            let gap = better.1 - worse.1;
            if gap > 0.0 && gap >= settings.min_score_gap {
                unequal.push((&better.0, &worse.0, gap));
            } else {
                ties += 1;
            }
        }
    }
    let (kept, over_limit) = drawn(prompt, unequal, settings.max_pairs_per_prompt);
    let pairs =
        kept.into_iter().map(|(better, worse, gap)| pair(better.clone(), worse.clone()).with_gap(Some(gap), settings));
    Ok(RowPairs { pairs: pairs.collect(), ties, over_limit, unscored, ..RowPairs::default() })
}

/// At most `limit` of `all`, in order, and the number left over. The choice depends only on the prompt.
pub(crate) fn drawn<T>(prompt: &str, all: Vec<T>, limit: usize) -> (Vec<T>, u64) {
    if all.len() <= limit {
        return (all, 0);
    }
    let mut keep = vec![false; all.len()];
    for index in sample(&mut seeded_draw("pairs of a prompt", prompt.as_bytes()), all.len(), limit) {
        if let Some(position) = keep.get_mut(index) {
            *position = true;
        }
    }
    let over = all.len() - limit;
    (all.into_iter().zip(keep).filter_map(|(item, keep)| keep.then_some(item)).collect(), over as u64)
}

#[cfg(test)]
mod tests {
    use ser_core::Message;
    use serde_json::json;

    use approx::assert_abs_diff_eq;

    use super::*;

    fn row(json: &serde_json::Value) -> Row {
        json.as_object().unwrap().clone()
    }

    fn answers(scores: &[f64]) -> Row {
        let answers: Vec<_> = scores
            .iter()
            .enumerate()
            .map(|(i, s)| serde_json::json!({"answer_id": i, "pm_score": s, "text": format!("<p>a{i}</p>")}))
            .collect();
        row(&serde_json::json!({"qid": 5, "question": "<p>Why &amp; how?</p>", "answers": answers}))
    }

    #[test]
    fn unequal_scores_make_pairs_and_equal_ones_ties() {
        let settings = ReadSettings { score_margin: Some(0.5), ..ReadSettings::default() };
        let found = read_stack_exchange(answers(&[1.0, 3.0, 1.0]), &settings).unwrap();
        let said: Vec<_> = found
            .pairs
            .iter()
            .map(|p| (p.pair.responses[0].as_str(), p.pair.responses[1].as_str(), p.margin))
            .collect();
        assert_eq!(said, [("a1", "a0", Some(1.0)), ("a1", "a2", Some(1.0))]);
        assert_eq!((found.ties, found.over_limit), (1, 0));
        assert_eq!(found.pairs[0].pair.prompt, [Message::user("Why & how?")]);
        let wide = ReadSettings { min_score_gap: 2.5, ..ReadSettings::default() };
        let found = read_stack_exchange(answers(&[1.0, 3.0, 4.0]), &wide).unwrap();
        assert_eq!((found.pairs.len(), found.ties, found.pairs[0].margin), (1, 2, None));
        assert!(read_stack_exchange(answers(&[1.0]), &settings).unwrap().pairs.is_empty());
    }

    #[test]
    fn a_prompts_pairs_are_limited_by_its_own_draw() {
        let settings = ReadSettings { max_pairs_per_prompt: 4, ..ReadSettings::default() };
        let scores: Vec<f64> = (0..12).map(f64::from).collect();
        let one = read_stack_exchange(answers(&scores), &settings).unwrap();
        assert_eq!((one.pairs.len(), one.over_limit), (4, 62));
        assert_eq!(one, read_stack_exchange(answers(&scores), &settings).unwrap());
        let drawn: Vec<Vec<u32>> = (0..200).map(|i| super::drawn(&format!("q{i}"), (0..66).collect(), 4).0).collect();
        assert!(drawn.iter().all(|four| four.is_sorted()));
        let mean = drawn.iter().flatten().sum::<u32>() as f64 / 800.0;
        assert_abs_diff_eq!(mean, 32.5, epsilon = 3.0);
    }

    #[test]
    fn ultra_feedback_pairs_its_completions() {
        let completion = |score: Value, text: &str| json!({"overall_score": score, "response": text, "model": "m"});
        let completions = [
            completion(json!("8.0"), "good"),
            completion(json!(null), "x"),
            completion(json!("N/A"), "y"),
            completion(json!(6.5), "bad"),
            completion(json!(9.0), ""),
        ];
        let read = |score_margin| {
            let settings = ReadSettings { score_margin, ..ReadSettings::default() };
            read_ultra_feedback(row(&json!({"instruction": "Do it.", "completions": completions})), &settings).unwrap()
        };
        let found = read(Some(0.1));
        assert_eq!((found.pairs.len(), found.unscored), (1, 3));
        assert_eq!(found.pairs[0].pair.responses, ["good", "bad"]);
        assert_abs_diff_eq!(found.pairs[0].margin.unwrap(), 0.15, epsilon = 1e-12);
        assert_eq!(read(None).pairs[0].margin, None, "off unless asked for");
    }

    #[test]
    fn nectar_prefers_the_lower_rank() {
        let answers = json!([{"answer": "worst", "rank": 3.0, "model": "m"}, {"answer": "best", "rank": 1}, {"answer": "mid", "rank": "2"}]);
        let read = |prompt: &str| {
            read_nectar(row(&json!({"prompt": prompt, "answers": answers, "turns": 1})), &ReadSettings::default())
                .unwrap()
        };
        let found = read("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: ");
        let said: Vec<_> = found.pairs.iter().map(|p| p.pair.responses.each_ref().map(String::as_str)).collect();
        assert_eq!(said, [["best", "worst"], ["mid", "worst"], ["best", "mid"]]);
        let pair = &found.pairs[0].pair;
        assert_eq!(pair.prompt, [Message::user("a"), Message::assistant("b"), Message::user("c")]);
        assert_eq!(pair.raw_texts().unwrap()[0], "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: best");
        assert_eq!(read("Human: q Assistant:").pairs[0].pair.prompt, [Message::user("q")]);
        assert_eq!(read("q").pairs[0].pair.prompt, [Message::user("q")]);
    }

    #[test]
    fn the_wrong_column_is_named() {
        let settings = ReadSettings::default();
        for (json, words) in [
            (serde_json::json!({"question": 3, "answers": []}), "`question` is the number 3, but text"),
            (serde_json::json!({"question": "q", "answers": {}}), "`answers` is an object, but a list"),
            (serde_json::json!({"question": "q", "answers": ["x"]}), "`answers[]` is the text \"x\", but an object"),
            (
                serde_json::json!({"question": "q", "answers": [{"text": "x"}]}),
                "`answers[].pm_score` is null, but a number",
            ),
            (serde_json::json!({"question": "q", "answers": [{"pm_score": 1}]}), "`answers[].text` is null"),
            (
                serde_json::json!({"question": "q", "answers": [{"pm_score": "high", "text": "x"}]}),
                "`answers[].pm_score` is the text \"high\"",
            ),
            (
                serde_json::json!({"question": "q", "answers": vec![serde_json::json!({"text": "x", "pm_score": 1}); 1001]}),
                "has 1001",
            ),
        ] {
            let error = read_stack_exchange(row(&json), &settings).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let paired = row(&serde_json::json!({"question": "q", "response_j": "a"}));
        assert!(read_stack_exchange_paired(paired).unwrap_err().to_string().contains("`response_k`"));
    }
}
