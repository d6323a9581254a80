//! OpenRLHF's interface of remote reward models.

use axum::Json;
use axum::extract::{Request, State};
use ser_core::RawScore;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use crate::reply::Problem;
use crate::texts::Prompt;

/// OpenRLHF sends `labels` too, which are not used.
#[derive(Deserialize)]
struct Body {
    query: Vec<String>,
    #[serde(default)]
    prompts: Option<Vec<String>>,
}

/// `POST /get_reward`. A text over the length limit is scored, as in PPO here: cut where the model's positions end.
pub(super) async fn get_reward(State(shared): App, request: Request) -> Result<Json<Value>, Problem> {
    let Body { query, prompts } = shared.read(request).await?;
    let settings = &shared.settings.settings;
    shared.check_count(query.len())?;
    if let Some(prompts) = prompts.as_ref().filter(|prompts| prompts.len() != query.len()) {
        let message = format!("query has {} texts and prompts {}; give as many of both", query.len(), prompts.len());
        return Err(Problem::invalid(message));
    }
    let mut texts = shared.texts();
    if settings.apply_template {
        let Some(prompts) = prompts else {
            return Err(Problem::invalid("the server writes texts by its template, for which prompts are needed"));
        };
        for (index, (query, prompt)) in query.iter().zip(&prompts).enumerate() {
            let [query, prompt] = [query, prompt].map(|text| stripped(text, &settings.strip));
            let Some(answer) = query.strip_prefix(prompt) else {
                return Err(Problem::invalid(format!("query {index} does not begin with its prompt")));
            };
            texts.answers(&Prompt::Text(prompt.to_owned()), &[answer.to_owned()]);
        }
    } else {
        query.into_iter().for_each(|text| texts.whole(text));
    }
    let raw = shared.score(texts, true).await?.0.concat();
    let probabilities: Vec<f64> = raw.iter().map(|&r| RawScore(r).sigmoid().get()).collect();
    let rewards = if settings.probability { &probabilities } else { &raw };
    // `scores` selects prompts by ranges within [0, 1]; every list of `extra_logs` is averaged and logged.
    Ok(Json(json!({"rewards": rewards, "scores": probabilities, "extra_logs": {"probability": probabilities}})))
}

/// Removes texts from both ends, as often as they occur there.
fn stripped<'a>(mut text: &'a str, ends: &[String]) -> &'a str {
    while let Some(shorter) = ends.iter().find_map(|end| text.strip_prefix(end).or_else(|| text.strip_suffix(end))) {
        text = shorter;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_are_removed_from_both_ends() {
        let ends = ["<s>", "</s>", "<pad>"].map(str::to_owned);
        assert_eq!(stripped("<pad><pad><s>q <s> a</s><pad>", &ends), "q <s> a");
        assert_eq!(stripped("<s></s>", &ends), "");
        assert_eq!(stripped(" q ", &[]), " q ");
    }
}
