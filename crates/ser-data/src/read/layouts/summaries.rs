//! TL;DR, summarize-from-feedback: a Reddit post and two summaries.

use super::fields::{Row, object, require, take, take_list, take_optional_text, take_text, whole_number};
use super::{LabelledPair, RowPairs};
use crate::RowProblem;

/// The prompt is the one for which the summaries were written; a row with an `article` (CNN/DM, in the validation part)
/// has no subreddit.
pub(crate) fn read_tldr(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["info", "summaries", "choice"])?;
    let choice = whole_number(&row, "choice")?;
    let info = take(&mut row, "info")?;
    let prompt = prompt(object("info", info)?)?;
    let summaries = take_list(&mut row, "summaries")?;
    let count = summaries.len();
    let mut texts = summaries.into_iter().map(|summary| -> Result<String, RowProblem> {
        let text = take_text(&mut object("summaries[]", summary)?, "text")?;
        if text.is_empty() { Err(RowProblem::EmptyAnswer { column: "summaries[].text" }) } else { Ok(text) }
    });
    let (Some(first), Some(second), None) = (texts.next(), texts.next(), texts.next()) else {
        return Err(RowProblem::WrongType {
            column: "summaries",
            expected: "a list of two",
            found: format!("a list of {count}"),
        });
    };
    let (first, second) = (first?, second?);
    let (chosen, rejected) = match choice {
        0 => (first, second),
        1 => (second, first),
        found => return Err(RowProblem::UnknownLabel { column: "choice", expected: "0 or 1", found }),
    };
    Ok(LabelledPair::text(prompt, chosen, rejected).into())
}

fn prompt(mut info: Row) -> Result<String, RowProblem> {
    let title = take_optional_text(&mut info, "title")?.unwrap_or_default();
    if let Some(article) = take_optional_text(&mut info, "article")? {
        return Ok(format!("TITLE: {title}\nARTICLE: {article}\nTL;DR:"));
    }
    let post = take_text(&mut info, "post")?;
    let subreddit = take_optional_text(&mut info, "subreddit")?.unwrap_or_default();
    Ok(format!("SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}\nTL;DR:"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<RowPairs, RowProblem> {
        read_tldr(json.as_object().unwrap().clone())
    }

    #[test]
    fn the_choice_says_which_is_better() {
        let info = json!({"id": "t3", "post": "Long.", "title": "Short?", "subreddit": "AskReddit", "site": null, "article": null});
        let summaries = json!([{"text": " one", "policy": "sup1"}, {"text": " two", "policy": "ref"}]);
        let found = read(json!({"info": info, "summaries": summaries, "choice": 1, "worker": "w"})).unwrap();
        let pair = &found.pairs[0].pair;
        assert_eq!(pair.responses, [" two", " one"]);
        assert_eq!(
            pair.raw_texts().unwrap()[0],
            "SUBREDDIT: r/AskReddit\nTITLE: Short?\nPOST: Long.\nTL;DR: two",
            "summaries begin with a space"
        );
        let article = json!({"article": "News.", "title": "T", "post": null, "site": "cnn"});
        let found = read(json!({"info": article, "summaries": summaries, "choice": 0})).unwrap();
        assert_eq!(found.pairs[0].pair.prompt[0].content, "TITLE: T\nARTICLE: News.\nTL;DR:");
        for (choice, summaries, words) in [
            (json!(2), summaries.clone(), "`choice` is 2, but 0 or 1 is expected"),
            (json!("a"), summaries.clone(), "`choice` is the text \"a\", but a whole number"),
            (json!(0), json!([{"text": "a"}]), "`summaries` is a list of 1"),
            (json!(0), json!([{"text": "a"}, {"text": ""}]), "the answer in `summaries[].text` is empty"),
        ] {
            let error = read(json!({"info": info, "summaries": summaries, "choice": choice})).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
