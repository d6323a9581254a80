//! The interface of this project: raw scores, probabilities, and the learning status of pairs.

use axum::Json;
use axum::extract::{Request, State};
use ser_core::{LearningStatus, Message, PairScores, RawScore, Side};
use ser_status::{Anchor, PaperRule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use crate::reply::Problem;
use crate::state::Shared;
use crate::texts::Prompt;

#[derive(Deserialize)]
struct Body {
    prompt: Option<Prompt>,
    answers: Option<Vec<String>>,
    inputs: Option<Vec<Input>>,
    conversations: Option<Vec<Vec<Message>>>,
}

#[derive(Deserialize)]
struct Input {
    prompt: Prompt,
    answers: Vec<String>,
}

#[derive(Serialize)]
struct Rewarded {
    index: usize,
    rewards: Vec<Reward>,
    status: Option<LearningStatus>,
    preferred: Option<usize>,
}

#[derive(Serialize)]
struct Reward {
    raw: f64,
    probability: f64,
    anchored: Option<f64>,
}

/// `POST /v1/rewards`.
pub(super) async fn rewards(State(shared): App, request: Request) -> Result<Json<Value>, Problem> {
    let body: Body = shared.read(request).await?;
    let mut texts = shared.texts();
    match body {
        Body { conversations: Some(conversations), prompt: None, answers: None, inputs: None } => {
            shared.check_count(conversations.len())?;
            conversations.into_iter().try_for_each(|turns| texts.conversation(turns)).map_err(Problem::invalid)?;
        }
        Body { inputs: Some(inputs), prompt: None, answers: None, conversations: None } => {
            shared.check_count(inputs.len().max(inputs.iter().map(|input| input.answers.len()).sum()))?;
            inputs.iter().for_each(|input| texts.answers(&input.prompt, &input.answers));
        }
        Body { prompt: Some(prompt), answers: Some(answers), inputs: None, conversations: None } => {
            shared.check_count(answers.len())?;
            texts.answers(&prompt, &answers);
        }
        _ => return Err(Problem::invalid("give prompt and answers, or inputs, or conversations")),
    }
    let (scores, model) = shared.score(texts, false).await?;
    let data: Vec<Rewarded> =
        scores.iter().enumerate().map(|(index, scores)| rewarded(&shared, index, scores)).collect();
    Ok(Json(json!({"object": "list", "model": &*model, "data": data})))
}

/// The rewards of one prompt's answers. Only two answers have a status, which is that of a pair.
fn rewarded(shared: &Shared, index: usize, scores: &[f64]) -> Rewarded {
    let anchor = &shared.settings.settings.anchor;
    let pair = <[f64; 2]>::try_from(scores).ok().map(|scores| anchor.probabilities(PairScores::from(scores)));
    let anchored = |at: usize, r: f64| match (&pair, anchor.anchor) {
        (Some(pair), _) => Some(if at == 0 { pair.a.get() } else { pair.b.get() }),
        // The zero of this anchor is the mean of a pair.
        (None, Anchor::PerPair) => None,
        (None, _) => Some(anchor.probabilities(PairScores::new(r, r)).a.get()),
    };
    let reward = |(at, &r): (usize, &f64)| Reward {
        raw: r,
        probability: RawScore(r).sigmoid().get(),
        anchored: anchored(at, r),
    };
    Rewarded {
        index,
        rewards: scores.iter().enumerate().map(reward).collect(),
        status: pair.map(|pair| PaperRule(shared.settings.thresholds).status(pair)),
        preferred: pair.and_then(|pair| pair.higher()).map(Side::index),
    }
}
