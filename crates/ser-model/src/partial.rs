//! Settings tables that name some of their keys.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Reads a table whose missing keys are `default`'s. Serde's own `default` would take those of the type, which are
/// another stage's: `[sft.training] epochs = 1` would get the reward model's batch size.
pub(crate) fn over<'de, D, T>(deserializer: D, default: T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Serialize + DeserializeOwned,
{
    let given = Map::deserialize(deserializer)?;
    let mut all = serde_json::to_value(default).map_err(D::Error::custom)?;
    put(&mut all, Value::Object(given));
    T::deserialize(all).map_err(D::Error::custom)
}

fn put(at: &mut Value, given: Value) {
    match (at, given) {
        (Value::Object(at), Value::Object(given)) => {
            for (key, value) in given {
                put(at.entry(key).or_insert(Value::Null), value);
            }
        }
        (at, given) => *at = given,
    }
}

#[cfg(test)]
mod tests {
    use crate::{BaseSettings, DpoTrainingSettings, PolicySettings, SftSettings, TrainingSettings};

    #[test]
    fn keys_that_are_not_given_are_the_stages_own() {
        let base: BaseSettings = serde_json::from_str(r#"{"training": {"batch_size": 4}}"#).unwrap();
        let own = BaseSettings::default().training;
        assert_eq!(base.training, TrainingSettings { batch_size: 4, ..own });
        let sft: SftSettings = serde_json::from_str(r#"{"training": {"epochs": 1}}"#).unwrap();
        assert_eq!((sft.training.epochs, sft.training.batch_size, sft.training.warmup_steps), (1, 16, 2));
        let dpo: DpoTrainingSettings =
            serde_json::from_str(r#"{"training": {"epochs": 1}, "lora": {"dropout": 0.0}}"#).unwrap();
        assert_eq!((dpo.training.learning_rate, dpo.lora.rank, dpo.lora.dropout), (1e-6, 16, 0.0));
        let policy: PolicySettings = serde_json::from_str(r#"{"lora": {"rank": 4}}"#).unwrap();
        assert_eq!((policy.lora.rank, policy.lora.dropout), (4, 0.05));
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = serde_json::from_str::<BaseSettings>(r#"{"training": {"batchsize": 4}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `batchsize`"), "{error}");
    }
}
