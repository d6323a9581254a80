//! Scaling and normalisation of scores.

use serde::{Deserialize, Serialize};

use crate::PpoError;
use crate::masked::{mean, variance};

/// Reward scaling (Eq. 7) of a probability x in [0, 1]:
/// x' = (max(x, c) - c) (x_max - x_min) / (1 - c) + x_min.
///
/// The default has the range of the paper, which gives no number for c.
///
/// ```
/// use ser_ppo::RewardScaling;
/// let scaling = RewardScaling { clip: 0.5, min: -0.5, max: 0.5 };
/// assert_eq!([0.2, 0.5, 0.75, 1.0].map(|x| scaling.scale(x)), [-0.5, -0.5, 0.0, 0.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardScaling {
    /// c, the clipping value, in [0, 1): probabilities under it become x_min.
    pub clip: f64,
    /// x_min.
    pub min: f64,
    /// x_max, over x_min.
    pub max: f64,
}

impl Default for RewardScaling {
    fn default() -> Self {
        RewardScaling { clip: 0.0, min: -0.5, max: 0.5 }
    }
}

impl RewardScaling {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first number outside its range, with its name.
    pub fn check(self) -> Result<(), PpoError> {
        if !(0.0..1.0).contains(&self.clip) {
            let (value, allowed) = (self.clip, "at least 0 and under 1");
            return Err(PpoError::OutOfRange { setting: "reward_scaling.clip", value, allowed });
        }
        for (setting, value) in [("reward_scaling.min", self.min), ("reward_scaling.max", self.max)] {
            if !value.is_finite() {
                return Err(PpoError::OutOfRange { setting, value, allowed: "finite" });
            }
        }
        if self.min >= self.max {
            let (value, allowed) = (self.max, "over reward_scaling.min");
            return Err(PpoError::OutOfRange { setting: "reward_scaling.max", value, allowed });
        }
        Ok(())
    }

    /// x' for a probability x.
    pub fn scale(self, x: f64) -> f64 {
        (x.max(self.clip) - self.clip) * (self.max - self.min) / (1.0 - self.clip) + self.min
    }

    /// Whether a scaled score lies within a hundredth of the range from one of its ends.
    pub(crate) fn at_limit(self, scaled: f64) -> bool {
        let margin = 0.01 * (self.max - self.min);
        scaled <= self.min + margin || scaled >= self.max - margin
    }
}

/// Writes and reads an optional [`RewardScaling`] in formats without null, such as TOML: `"none"`, or its table.
pub(crate) mod none_or_table {
    use std::fmt;

    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Error, MapAccess, Unexpected, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::RewardScaling;

    struct NoneOrTable;

    impl<'de> Visitor<'de> for NoneOrTable {
        type Value = Option<RewardScaling>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"none\", or a table with clip, min and max")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            if text == "none" { Ok(None) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            RewardScaling::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    pub(crate) fn serialize<S: Serializer>(scaling: &Option<RewardScaling>, serializer: S) -> Result<S::Ok, S::Error> {
        match scaling {
            Some(scaling) => scaling.serialize(serializer),
            None => serializer.serialize_str("none"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RewardScaling>, D::Error> {
        deserializer.deserialize_any(NoneOrTable)
    }
}

/// The use of running moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreNormalization {
    /// Nothing.
    #[default]
    None,
    /// Scores are divided by the running standard deviation (TRL's `use_score_scaling`).
    Scale,
    /// The running mean is subtracted first (TRL's `use_score_scaling` with `use_score_norm`).
    Standardize,
}

/// Mean and standard deviation of every score seen so far, as TRL's `RunningMoments` keeps them.
///
/// Parts are merged by Chan's formula, so the order of batches does not matter. Storing it resumes exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningMoments {
    count: f64,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl RunningMoments {
    /// Adds a batch of scores.
    pub fn update(&mut self, scores: &[f64]) {
        let Some(batch_mean) = mean(|| scores.iter().copied()) else { return };
        let count = scores.len() as f64;
        let batch_squares = variance(|| scores.iter().copied()).unwrap_or(0.0) * (count - 1.0);
        let (delta, total) = (batch_mean - self.mean, self.count + count);
        self.squares += batch_squares + delta * delta * self.count * count / total;
        self.mean += delta * count / total;
        self.count = total;
    }

    /// Mean of all scores; 0 before the first.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation of all scores with Bessel's correction; 1 before the second.
    pub fn std(&self) -> f64 {
        if self.count > 1.0 { (self.squares / (self.count - 1.0)).sqrt() } else { 1.0 }
    }

    /// A score divided by the standard deviation, after the mean is subtracted if `shift_mean`. Where all scores were
    /// the same there is no scale, and none is applied.
    pub fn normalize(&self, score: f64, shift_mean: bool) -> f64 {
        let centred = if shift_mean { score - self.mean } else { score };
        // TRL divides by zero plus epsilon here, which makes rewards of millions.
        if self.std() > 0.0 { centred / (self.std() + f64::from(f32::EPSILON)) } else { centred }
    }
}
