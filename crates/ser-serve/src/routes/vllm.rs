//! vLLM's requests for classifiers and cross-encoders.

use axum::Json;
use axum::extract::{Request, State};
use ser_core::{Message, RawScore};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use crate::reply::Problem;
use crate::state::{Shared, now};
use crate::texts::{OneOrMany, Prompt, Texts};

/// Whether scores are probabilities; the field's name has changed twice in vLLM.
#[derive(Deserialize)]
struct Activation {
    use_activation: Option<bool>,
    activation: Option<bool>,
    softmax: Option<bool>,
}

impl Activation {
    fn apply(&self, r: f64) -> f64 {
        if self.use_activation.or(self.activation).or(self.softmax).unwrap_or(true) {
            RawScore(r).sigmoid().get()
        } else {
            r
        }
    }
}

#[derive(Deserialize)]
struct ClassifyBody {
    input: Option<OneOrMany>,
    messages: Option<Vec<Message>>,
    #[serde(flatten)]
    activation: Activation,
}

/// `POST /classify`: a reward model is a classifier with one class.
pub(super) async fn classify(State(shared): App, request: Request) -> Result<Json<Value>, Problem> {
    let body: ClassifyBody = shared.read(request).await?;
    let mut texts = shared.texts();
    match (body.input, body.messages) {
        (Some(input), None) => {
            let input = input.into_vec();
            shared.check_count(input.len())?;
            input.into_iter().for_each(|text| texts.whole(text));
        }
        (None, Some(messages)) => texts.conversation(messages).map_err(Problem::invalid)?,
        _ => return Err(Problem::invalid("give either input or messages")),
    }
    let class = |index: usize, r: f64| json!({"index": index, "label": "LABEL_0", "probs": [body.activation.apply(r)], "num_classes": 1});
    list(&shared, "classify", texts, class).await
}

#[derive(Deserialize)]
struct ScoreBody {
    #[serde(alias = "data_1", alias = "queries")]
    text_1: OneOrMany,
    #[serde(alias = "data_2", alias = "documents", alias = "items")]
    text_2: OneOrMany,
    #[serde(flatten)]
    activation: Activation,
}

/// `POST /score`: prompts and answers. One prompt may have several answers.
pub(super) async fn score(State(shared): App, request: Request) -> Result<Json<Value>, Problem> {
    let ScoreBody { text_1, text_2, activation } = shared.read(request).await?;
    let (mut prompts, answers) = (text_1.into_vec(), text_2.into_vec());
    shared.check_count(answers.len())?;
    let mut texts = shared.texts();
    if prompts.len() == answers.len() {
        for (prompt, answer) in prompts.into_iter().zip(answers) {
            texts.answers(&Prompt::Text(prompt), &[answer]);
        }
    } else if let (Some(prompt), true) = (prompts.pop(), prompts.is_empty()) {
        texts.answers(&Prompt::Text(prompt), &answers);
    } else {
        return Err(Problem::invalid("text_1 must be one text, or have as many texts as text_2"));
    }
    list(&shared, "score", texts, |index, r| json!({"index": index, "object": "score", "score": activation.apply(r)}))
        .await
}

/// vLLM's list of results. It has no `usage`: a scorer does not say how many tokens it read.
async fn list(
    shared: &Shared,
    kind: &str,
    texts: Texts,
    entry: impl Fn(usize, f64) -> Value,
) -> Result<Json<Value>, Problem> {
    let (scores, model) = shared.score(texts, false).await?;
    let scores = scores.concat();
    let data: Vec<Value> = scores.iter().enumerate().map(|(index, &r)| entry(index, r)).collect();
    Ok(Json(json!({
        "id": shared.reply_id(kind), "object": "list", "created": now(), "model": &*model, "data": data,
    })))
}
