//! Settings of a judge behind an endpoint.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// A model behind an OpenAI-compatible chat-completions endpoint, and how it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeSettings {
    /// Base URL of the endpoint, such as `https://host/v1`; `/chat/completions` is added if it is missing, and `/v1`
    /// before it if only a host is given.
    pub endpoint: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// Environment variable with the API key; none if the endpoint needs no key. The key itself is never a setting,
    /// since settings are written into reports.
    pub api_key_env: Option<String>,
    /// Sampling temperature; none: the endpoint's default.
    pub temperature: Option<f64>,
    /// Nucleus sampling: the share of probability that tokens are drawn from; none: the endpoint's default.
    pub top_p: Option<f64>,
    /// Maximum number of tokens of an answer; none: the endpoint's default.
    pub max_tokens: Option<u32>,
    /// The criteria of [`AdditiveJudge`](crate::AdditiveJudge).
    pub rubric: Rubric,
    /// Maximum number of concurrent requests.
    pub concurrency: usize,
    /// Timeout of a request in seconds.
    pub timeout_seconds: f64,
    /// Retries of a request after a timeout, a broken connection, status 408, 425, 429 or 5xx, or a reply that is not a
    /// chat completion.
    pub retries: u32,
    /// Seconds before the first retry. The wait doubles with every retry and is shortened at random by up to a half, so
    /// that requests that failed together are not retried together. `Retry-After`, in seconds or as a date, is respected.
    pub first_wait_seconds: f64,
    /// The longest wait in seconds, also for `Retry-After`.
    pub longest_wait_seconds: f64,
    /// Stop after this number of consecutive requests without any answer (no connection, timeouts, 429, 502 to 504).
    pub give_up_after: u32,
    /// Token prices; none: costs are not computed.
    pub prices: Option<Prices>,
    /// Every answer is stored in this file, one per line, and not requested again; none: answers are not stored.
    pub cache: Option<PathBuf>,
}

/// The criteria by which [`AdditiveJudge`](crate::AdditiveJudge) grades answers from 0 to 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rubric {
    /// This crate's criteria, in one message, with the request and the answer between marks.
    #[default]
    Plain,
    /// The criteria, order and format of the authors' code, as a system message.
    AuthorsCode,
}

/// Prices per million tokens, in any currency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Price of prompt tokens.
    pub prompt_per_million: f64,
    /// Price of completion tokens.
    pub completion_per_million: f64,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        JudgeSettings {
            endpoint: String::new(),
            model: String::new(),
            api_key_env: None,
            temperature: Some(0.0),
            top_p: None,
            max_tokens: Some(512),
            rubric: Rubric::Plain,
            concurrency: 4,
            timeout_seconds: 120.0,
            retries: 6,
            first_wait_seconds: 1.0,
            longest_wait_seconds: 60.0,
            give_up_after: 8,
            prices: None,
            cache: None,
        }
    }
}

impl JudgeSettings {
    /// The judge of the authors' code (`gpt4_evaluation`): its criteria ([`Rubric::AuthorsCode`]), temperature 0.7,
    /// top-p 0.95 and 1024 tokens. For an [`AdditiveJudge`](crate::AdditiveJudge). The authors' model was GPT-4o of
    /// August 2024; their frequency and presence penalties of 0 are every endpoint's default and are not sent.
    pub fn authors_code(endpoint: impl Into<String>, model: impl Into<String>) -> Self {
        JudgeSettings {
            endpoint: endpoint.into(),
            model: model.into(),
            temperature: Some(0.7),
            top_p: Some(0.95),
            max_tokens: Some(1024),
            rubric: Rubric::AuthorsCode,
            ..JudgeSettings::default()
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`EvalError::BadJudgeSetting`].
    pub fn check(&self) -> Result<(), EvalError> {
        let bad = |setting, value: String, rule| Err(EvalError::BadJudgeSetting { setting, value, rule });
        let authority = ["http://", "https://"].iter().find_map(|scheme| self.endpoint.strip_prefix(scheme));
        match authority.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or("")) {
            // The URL may contain a secret, so it is not repeated.
            Some(host) if host.contains('@') => {
                return bad("endpoint", "one with a user or password in it".to_owned(), NO_SECRETS);
            }
            Some(host) if !host.is_empty() => {}
            _ => return bad("endpoint", format!("\"{}\"", self.endpoint), "be the base of a URL, as http://host/v1"),
        }
        if self.endpoint.contains(['?', '#']) {
            return bad("endpoint", "one with a query in it".to_owned(), NO_SECRETS);
        }
        if let Some(name) = &self.api_key_env {
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
            if !is_name {
                // The value may be the key by mistake, so it is not repeated.
                return bad(
                    "api_key_env",
                    "not the name of a variable".to_owned(),
                    "be the name of the variable with the key",
                );
            }
        }
        if self.model.is_empty() {
            return bad("model", "empty".to_owned(), "be the model's name at the endpoint");
        }
        if let Some(t) = self.temperature.filter(|t| !(t.is_finite() && *t >= 0.0)) {
            return bad("temperature", t.to_string(), "be 0 or more");
        }
        if let Some(p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return bad("top_p", p.to_string(), "be over 0 and at most 1");
        }
        if self.max_tokens == Some(0) {
            return bad("max_tokens", "0".to_owned(), "be at least 1, or none");
        }
        if self.concurrency == 0 {
            return bad("concurrency", "0".to_owned(), "be at least 1");
        }
        if self.give_up_after == 0 {
            return bad("give_up_after", "0".to_owned(), "be at least 1");
        }
        let seconds = [
            ("timeout_seconds", self.timeout_seconds, 1e-3),
            ("first_wait_seconds", self.first_wait_seconds, 0.0),
            ("longest_wait_seconds", self.longest_wait_seconds, 0.0),
        ];
        for (setting, value, least) in seconds {
            if !(value >= least && value <= 86_400.0) {
                return bad(setting, value.to_string(), "be a number of seconds over 0 and at most a day");
            }
        }
        let prices = self.prices.map(|p| [p.prompt_per_million, p.completion_per_million]);
        if let Some(price) = prices.iter().flatten().find(|price| !(price.is_finite() && **price >= 0.0)) {
            return bad("prices", price.to_string(), "be 0 or more per million tokens");
        }
        Ok(())
    }

    /// The URL of requests.
    #[cfg(feature = "http")]
    pub(super) fn url(&self) -> String {
        let base = self.endpoint.trim_end_matches('/');
        let path = base.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        match path {
            "" => format!("{base}/v1/chat/completions"),
            path if path.ends_with("chat/completions") => base.to_owned(),
            _ => format!("{base}/chat/completions"),
        }
    }
}

const NO_SECRETS: &str = "contain no secret; name the environment variable with the key in api_key_env";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> JudgeSettings {
        JudgeSettings { endpoint: endpoint.to_owned(), model: "m".to_owned(), ..JudgeSettings::default() }
    }

    #[test]
    #[cfg(feature = "http")]
    fn an_endpoint_is_completed() {
        for endpoint in
            ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"]
        {
            assert_eq!(settings(endpoint).url(), "http://h:1/v1/chat/completions");
        }
        assert_eq!(settings("https://h/openai/v1").url(), "https://h/openai/v1/chat/completions");
    }

    #[test]
    fn bad_settings_are_named() {
        settings("http://h").check().unwrap();
        let says = |s: JudgeSettings| s.check().unwrap_err().to_string();
        let good = settings("http://h");
        assert!(says(settings("ftp://h")).starts_with("judge.endpoint is \"ftp://h\"; it must be the base of a URL"));
        assert!(says(settings("")).starts_with("judge.endpoint is \"\""));
        for secret in ["http://me:s3cret@h/v1", "http://h/v1?key=s3cret"] {
            let message = says(settings(secret));
            assert!(message.contains("api_key_env") && !message.contains("s3cret"), "{message}");
        }
        assert!(says(JudgeSettings { model: String::new(), ..good.clone() }).contains("judge.model"));
        assert!(says(JudgeSettings { concurrency: 0, ..good.clone() }).contains("judge.concurrency is 0"));
        assert!(says(JudgeSettings { temperature: Some(-1.0), ..good.clone() }).contains("judge.temperature is -1"));
        assert!(says(JudgeSettings { top_p: Some(1.5), ..good.clone() }).contains("judge.top_p is 1.5"));
        assert!(says(JudgeSettings { timeout_seconds: f64::NAN, ..good.clone() }).contains("judge.timeout_seconds"));
        let prices = Some(Prices { prompt_per_million: 1.0, completion_per_million: -2.0 });
        assert!(says(JudgeSettings { prices, ..good }).contains("judge.prices is -2"));
        assert!(serde_json::from_str::<JudgeSettings>(r#"{"api_key": "x"}"#).is_err());
    }
}
