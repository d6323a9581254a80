//! Settings of the service.

use std::time::Duration;

use ser_status::{Anchor, CheckedThresholds, FittedAnchor, Thresholds};

use crate::{ApiKey, ServeError};

/// Unchecked settings of a [`RewardServer`](crate::RewardServer).
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The model's name in replies.
    pub model: String,
    /// The most pairs of one batch, at least 1.
    pub batch_pairs: usize,
    /// The most bytes of text of one batch, at least 1. A longer pair is a batch of its own.
    pub batch_bytes: usize,
    /// The most pairs that wait, at least `request_texts`. A request that would exceed it gets 503.
    pub queue_pairs: usize,
    /// The most texts of one request, at least 1; a larger one gets 413.
    pub request_texts: usize,
    /// The most bytes of a request's body, at least 1; a larger one gets 413.
    pub request_bytes: usize,
    /// The time that a client has to send a request's body.
    pub body_timeout: Duration,
    /// How `/get_reward` reads `query`: false, the texts are scored as they are, as OpenRLHF's own server does; true, each is its
    /// entry of `prompts` followed by an answer, and the model's template writes both anew.
    pub apply_template: bool,
    /// With `apply_template`: texts, such as the policy's special tokens, that are removed from both ends of queries and
    /// prompts, as often as they occur there.
    pub strip: Vec<String>,
    /// Whether `rewards` of `/get_reward` are probabilities, sigmoid(r), and not raw scores r.
    pub probability: bool,
    /// The map from raw scores to the anchored probabilities of `/v1/rewards`.
    pub anchor: FittedAnchor,
    /// The thresholds of the status of `/v1/rewards`.
    pub thresholds: Thresholds,
    /// The key that every request but `/health` must have, as `Authorization: Bearer KEY`.
    pub api_key: Option<ApiKey>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        ServeSettings {
            model: "reward-model".to_owned(),
            batch_pairs: 64,
            batch_bytes: 1 << 18,
            queue_pairs: 8192,
            request_texts: 4096,
            request_bytes: 16 << 20,
            body_timeout: Duration::from_secs(30),
            apply_template: false,
            strip: Vec::new(),
            probability: false,
            anchor: FittedAnchor { anchor: Anchor::None, offset: 0.0, temperature: 1.0 },
            thresholds: Thresholds::default(),
            api_key: None,
        }
    }
}

impl ServeSettings {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ServeError::Setting`] with the field, and [`ServeError::Thresholds`].
    pub fn check(self) -> Result<CheckedServeSettings, ServeError> {
        let refused = |field, value: String, expected: &str| {
            Err(ServeError::Setting { field, value, expected: expected.to_owned() })
        };
        for (field, value) in [
            ("batch_pairs", self.batch_pairs),
            ("batch_bytes", self.batch_bytes),
            ("request_texts", self.request_texts),
            ("request_bytes", self.request_bytes),
        ] {
            if value == 0 {
                return refused(field, "0".to_owned(), "it must be at least 1");
            }
        }
        if self.queue_pairs < self.request_texts {
            let expected = format!("it must be at least request_texts, {}", self.request_texts);
            return refused("queue_pairs", self.queue_pairs.to_string(), &expected);
        }
        if self.strip.iter().any(String::is_empty) {
            return refused("strip", "an empty text".to_owned(), "it must be a text");
        }
        let FittedAnchor { offset, temperature, .. } = self.anchor;
        if !offset.is_finite() {
            return refused("anchor.offset", offset.to_string(), "it must be finite");
        }
        if !(temperature.is_finite() && temperature > 0.0) {
            return refused("anchor.temperature", temperature.to_string(), "it must be positive and finite");
        }
        let thresholds = self.thresholds.check().map_err(ServeError::Thresholds)?;
        Ok(CheckedServeSettings { settings: self, thresholds })
    }
}

/// Settings whose fields are all sound.
#[derive(Clone, Debug)]
pub struct CheckedServeSettings {
    pub(crate) settings: ServeSettings,
    pub(crate) thresholds: CheckedThresholds,
}

impl CheckedServeSettings {
    /// The settings.
    pub fn get(&self) -> &ServeSettings {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsound_field_is_named() {
        type Change = fn(&mut ServeSettings);
        let cases: [(Change, &str); 5] = [
            (|s| s.batch_pairs = 0, "batch_pairs is 0; it must be at least 1"),
            (|s| s.queue_pairs = 7, "queue_pairs is 7; it must be at least request_texts, 4096"),
            (|s| s.strip = vec![String::new()], "strip is an empty text; it must be a text"),
            (|s| s.anchor.temperature = 0.0, "anchor.temperature is 0; it must be positive and finite"),
            (|s| s.anchor.offset = f64::NAN, "anchor.offset is NaN; it must be finite"),
        ];
        for (change, expected) in cases {
            let mut settings = ServeSettings::default();
            change(&mut settings);
            assert_eq!(settings.check().unwrap_err().to_string(), expected);
        }
        let mut settings = ServeSettings::default();
        settings.thresholds.tau_low = 2.0;
        assert!(matches!(settings.check(), Err(ServeError::Thresholds(_))));
        assert!(ServeSettings::default().check().is_ok());
    }
}
