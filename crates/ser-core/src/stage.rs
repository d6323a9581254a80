//! The stages of a run, each with a stable text form.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A stage of work, as observers, logs and `metrics.jsonl` know it.
///
/// Every stage has a text form, which is stable: it is what `Display` writes, what serde stores and what [`FromStr`]
/// reads. Texts of no known stage are [`Stage::Other`].
///
/// ```
/// use ser_core::{Stage, StageModel};
///
/// let stage = Stage::Train(StageModel::Iteration(1));
/// assert_eq!(stage.to_string(), "train loop 1");
/// assert_eq!(Stage::from("train loop 1"), stage);
/// assert_eq!(Stage::from("tune"), Stage::Other("tune".into()));
/// assert_eq!(Stage::from("tune"), *"tune");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// `teach the base model its language`: pre-training of a fresh base model.
    Pretrain,
    /// `screen the pairs`: the model says which pairs it can work on.
    Screen,
    /// `train`: a reward model is trained outside the loop.
    TrainReward,
    /// `train loop 1`, `train baseline full`: a reward model is trained in the loop or for a baseline.
    Train(StageModel),
    /// `score`: pairs are scored outside the loop.
    Score,
    /// `score the pool for loop 1`, `score the pool, baseline random, loop 2`: the pool is scored so that this model can
    /// be trained.
    ScorePool(StageModel),
    /// `score validation, loop 1`: this model scores the validation pairs.
    ScoreValidation(StageModel),
    /// `score test, loop 1`: this model scores the test pairs.
    ScoreTest(StageModel),
    /// `the pool for loop 1`: quantiles of the scored pool.
    Pool(u32),
    /// `loop 1`: results of an iteration.
    Iteration(u32),
    /// `sample answers`: two answers per prompt are sampled for the pool.
    SampleAnswers,
    /// `sft`: supervised fine-tuning.
    Sft,
    /// `dpo`: direct preference optimisation.
    Dpo,
    /// `ppo`, or `ppo-ser` for the policy named `ser`: PPO.
    Ppo(Option<Cow<'static, str>>),
    /// `generate`: prompts are answered.
    Generate,
    /// `reward`: answers are rewarded.
    Reward,
    /// `judge`: answers are compared.
    Judge,
    /// Any other stage, by its text.
    Other(Cow<'static, str>),
}

/// A reward model of a run: that of an iteration, or a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StageModel {
    /// `loop 1`: the model of an iteration; iteration 0 is trained on the labelled seed.
    Iteration(u32),
    /// `baseline full`: trained on all gold labels.
    Full,
    /// `baseline oracle`: trained on the selected pairs with their gold labels.
    Oracle,
    /// `baseline random`, or `baseline random, loop 1` for one of its iterations: trained on pairs drawn at random.
    Random(Option<u32>),
}

impl Display for StageModel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            StageModel::Iteration(number) => write!(f, "loop {number}"),
            StageModel::Full => f.write_str("baseline full"),
            StageModel::Oracle => f.write_str("baseline oracle"),
            StageModel::Random(None) => f.write_str("baseline random"),
            StageModel::Random(Some(number)) => write!(f, "baseline random, loop {number}"),
        }
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Pretrain => f.write_str("teach the base model its language"),
            Stage::Screen => f.write_str("screen the pairs"),
            Stage::TrainReward => f.write_str("train"),
            Stage::Train(model) => write!(f, "train {model}"),
            Stage::Score => f.write_str("score"),
            Stage::ScorePool(StageModel::Iteration(number)) => write!(f, "score the pool for loop {number}"),
            Stage::ScorePool(model) => write!(f, "score the pool, {model}"),
            Stage::ScoreValidation(model) => write!(f, "score validation, {model}"),
            Stage::ScoreTest(model) => write!(f, "score test, {model}"),
            Stage::Pool(number) => write!(f, "the pool for loop {number}"),
            Stage::Iteration(number) => write!(f, "loop {number}"),
            Stage::SampleAnswers => f.write_str("sample answers"),
            Stage::Sft => f.write_str("sft"),
            Stage::Dpo => f.write_str("dpo"),
            Stage::Ppo(None) => f.write_str("ppo"),
            Stage::Ppo(Some(name)) => write!(f, "ppo-{name}"),
            Stage::Generate => f.write_str("generate"),
            Stage::Reward => f.write_str("reward"),
            Stage::Judge => f.write_str("judge"),
            Stage::Other(text) => f.write_str(text),
        }
    }
}

/// The stages without parameters.
const PLAIN: [Stage; 11] = [
    Stage::Pretrain,
    Stage::Screen,
    Stage::TrainReward,
    Stage::Score,
    Stage::SampleAnswers,
    Stage::Sft,
    Stage::Dpo,
    Stage::Ppo(None),
    Stage::Generate,
    Stage::Reward,
    Stage::Judge,
];

fn model(text: &str) -> Option<StageModel> {
    let number = |text: &str| text.parse().ok();
    match text {
        "baseline full" => Some(StageModel::Full),
        "baseline oracle" => Some(StageModel::Oracle),
        "baseline random" => Some(StageModel::Random(None)),
        _ => match text.strip_prefix("baseline random, loop ") {
            Some(text) => Some(StageModel::Random(Some(number(text)?))),
            None => Some(StageModel::Iteration(number(text.strip_prefix("loop ")?)?)),
        },
    }
}

fn with_parameters(text: &str) -> Option<Stage> {
    type Make = fn(StageModel) -> Stage;
    let of_models: [(&str, Make); 5] = [
        ("train ", Stage::Train),
        ("score the pool for ", Stage::ScorePool),
        ("score the pool, ", Stage::ScorePool),
        ("score validation, ", Stage::ScoreValidation),
        ("score test, ", Stage::ScoreTest),
    ];
    let found = of_models.iter().find_map(|(prefix, make)| Some(make(model(text.strip_prefix(prefix)?)?)));
    found
        .or_else(|| Some(Stage::Ppo(Some(text.strip_prefix("ppo-")?.to_owned().into()))))
        .or_else(|| Some(Stage::Pool(text.strip_prefix("the pool for loop ")?.parse().ok()?)))
        .or_else(|| Some(Stage::Iteration(text.strip_prefix("loop ")?.parse().ok()?)))
}

impl Stage {
    fn known(text: &str) -> Option<Stage> {
        let plain = PLAIN.iter().find(|stage| **stage == *text).cloned();
        // A number such as `01` would come back as another text.
        plain.or_else(|| with_parameters(text).filter(|stage| *stage == *text))
    }
}

impl From<&str> for Stage {
    fn from(text: &str) -> Self {
        Stage::known(text).unwrap_or_else(|| Stage::Other(text.to_owned().into()))
    }
}

impl From<String> for Stage {
    fn from(text: String) -> Self {
        Stage::known(&text).unwrap_or(Stage::Other(text.into()))
    }
}

impl From<&Stage> for Stage {
    fn from(stage: &Stage) -> Self {
        stage.clone()
    }
}

impl FromStr for Stage {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Stage::from(text))
    }
}

impl PartialEq<str> for Stage {
    fn eq(&self, text: &str) -> bool {
        match self {
            Stage::Other(own) => own == text,
            known => format!("{known}") == text,
        }
    }
}

impl PartialEq<&str> for Stage {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Stage::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_read_from_its_text() {
        let models = [
            StageModel::Iteration(12),
            StageModel::Full,
            StageModel::Oracle,
            StageModel::Random(None),
            StageModel::Random(Some(3)),
        ];
        let of_models = models.into_iter().flat_map(|model| {
            [Stage::Train, Stage::ScorePool, Stage::ScoreValidation, Stage::ScoreTest].map(|make| make(model))
        });
        let others = [Stage::Pool(1), Stage::Iteration(0), Stage::Ppo(Some("ser".into()))];
        for stage in PLAIN.into_iter().chain(of_models).chain(others) {
            let text = stage.to_string();
            assert_eq!(Stage::from(text.as_str()), stage, "{text}");
            assert_eq!(stage, *text.as_str());
            assert_eq!(serde_json::from_str::<Stage>(&serde_json::to_string(&stage).unwrap()).unwrap(), stage);
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in ["train loop 01", "train loop", "score the pool for baseline full", "", "loop -1"] {
            assert_eq!(Stage::from(text), Stage::Other(text.to_owned().into()));
            assert_eq!(Stage::from(text).to_string(), text);
        }
    }
}
