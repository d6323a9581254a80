//! HTTP by ureq. Only this file handles the API key.

use std::env::{self, VarError};
use std::fmt;
use std::time::{Duration, SystemTime};

use ser_core::retry_after;
use ureq::Agent;
use ureq::http::HeaderValue;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};

use super::{JudgeSettings, NoReply, Reply, Transport};
use crate::EvalError;

/// Maximum size of a body; a longer one counts as a broken reply.
const MOST_BYTES: u64 = 8 << 20;

/// Minimum length of a key; a shorter one would occur in ordinary text.
const SHORTEST_KEY: usize = 4;

/// The usual [`Transport`]: HTTP or HTTPS, through the proxy that the environment names except for loopback addresses.
/// Redirects are not followed, so that the key is sent to the endpoint only.
pub struct Http {
    agent: Agent,
    url: String,
    key: Option<Key>,
}

struct Key {
    secret: String,
    header: HeaderValue,
}

impl Http {
    /// Reads the key, if the settings name a variable for it.
    ///
    /// # Errors
    /// [`EvalError::NoApiKey`], [`EvalError::BadApiKey`], and the errors of [`JudgeSettings::check`].
    pub fn new(settings: &JudgeSettings) -> Result<Self, EvalError> {
        settings.check()?;
        let key = settings.api_key_env.as_deref().map(read_key).transpose()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("ser-eval/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(settings.concurrency)
            .timeout_global(Some(Duration::from_secs_f64(settings.timeout_seconds)));
        let url = settings.url();
        if is_loopback(&url) {
            config = config.proxy(None);
        }
        Ok(Http { agent: config.build().new_agent(), url, key })
    }
}

fn read_key(variable: &str) -> Result<Key, EvalError> {
    let bad = |reason| EvalError::BadApiKey { variable: variable.to_owned(), reason };
    let secret = match env::var(variable) {
        Ok(value) => value.trim().to_owned(),
        Err(VarError::NotPresent) => return Err(EvalError::NoApiKey { variable: variable.to_owned() }),
        Err(VarError::NotUnicode(_)) => return Err(bad("is not text")),
    };
    if secret.len() < SHORTEST_KEY {
        return Err(bad("is too short for a key; leave api_key_env out if the endpoint needs no key"));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {secret}"))
        .map_err(|_| bad("has characters that an HTTP header cannot contain"))?;
    header.set_sensitive(true);
    Ok(Key { secret, header })
}

fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or("");
    ["localhost", "127.", "[::1]"].iter().any(|host| authority.starts_with(host))
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Transport for Http {
    fn post(&self, body: &str) -> Result<Reply, NoReply> {
        let broken = |error: ureq::Error| NoReply { reason: self.redact(error.to_string()) };
        let mut request = self.agent.post(&self.url).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.header.clone());
        }
        let mut response = request.send(body).map_err(broken)?;
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?, SystemTime::now()));
        // The body need not be UTF-8.
        let bytes = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec().map_err(broken)?;
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Reply { status: response.status().as_u16(), retry_after, body })
    }

    fn redact(&self, text: String) -> String {
        match &self.key {
            Some(key) if text.contains(&key.secret) => text.replace(&key.secret, "[key]"),
            _ => text,
        }
    }
}
