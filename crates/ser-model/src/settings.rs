//! Settings tables that give only some of their keys.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Reads a table whose missing keys have the values of `default`. Serde's `default` would take those of the type, which
/// belong to another stage: `[sft.training] epochs = 1` would get the reward model's batch size.
pub(crate) fn over<'de, D, T>(deserializer: D, default: T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Serialize + DeserializeOwned,
{
    let given = Map::deserialize(deserializer)?;
    let mut all = serde_json::to_value(default).map_err(D::Error::custom)?;
    merge(&mut all, Value::Object(given));
    T::deserialize(all).map_err(D::Error::custom)
}

/// Replaces the values of `into` by the given ones, table by table.
fn merge(into: &mut Value, given: Value) {
    match (into, given) {
        (Value::Object(into), Value::Object(given)) => {
            for (key, value) in given {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, given) => *into = given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        epochs: u32,
        rate: f64,
    }

    impl Default for Inner {
        fn default() -> Self {
            Inner { epochs: 1, rate: 0.5 }
        }
    }

    #[derive(Debug, Deserialize)]
    struct Stage {
        #[serde(deserialize_with = "own_defaults")]
        inner: Inner,
    }

    fn own_defaults<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Inner, D::Error> {
        over(deserializer, Inner { epochs: 3, rate: 0.25 })
    }

    #[test]
    fn missing_keys_take_the_given_defaults() {
        let stage: Stage = serde_json::from_str(r#"{"inner": {"epochs": 9}}"#).unwrap();
        assert_eq!(stage.inner, Inner { epochs: 9, rate: 0.25 });
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = serde_json::from_str::<Stage>(r#"{"inner": {"epoch": 4}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `epoch`"), "{error}");
    }
}
