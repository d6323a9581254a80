//! Requests to a hub: redirects, time limits, and the token, which is sent to the hub alone.

use std::io::Read;
use std::time::{Duration, SystemTime};

use ser_core::retry_after;
use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use ureq::{Agent, Body};

use super::settings::HubSettings;

/// Most redirects of a request.
const REDIRECTS: usize = 10;
/// Most bytes of a list of files.
const LIST_BYTES: u64 = 64 << 20;
/// The wait before the first of several tries that follow each other without success; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// The longest wait, whatever the hub asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a request has no usable answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// The HTTP status, if there was one.
    pub(super) status: Option<u16>,
    pub(super) problem: String,
    /// Whether the same request may succeed later.
    pub(super) may_pass: bool,
    /// What the hub asks to wait.
    wait: Option<Duration>,
}

impl Failure {
    /// A reply that is wrong in a way that does not pass.
    pub(super) fn reply(problem: impl Into<String>) -> Self {
        Failure { status: None, problem: problem.into(), may_pass: false, wait: None }
    }

    /// A broken connection, or a file that cannot be written.
    pub(super) fn broken(problem: impl ToString) -> Self {
        Failure { status: None, problem: problem.to_string(), may_pass: true, wait: None }
    }

    /// The wait before the next try after so many failures.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << failures.min(10));
        self.wait.unwrap_or(doubled).min(LONGEST_WAIT)
    }
}

/// The end of a chain of redirects.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The headers of the last reply.
    pub(super) headers: HeaderMap,
    /// Headers of the first reply that names the file, which a redirect to storage has.
    pub(super) first: HeaderMap,
    body: Body,
}

impl Answer {
    pub(super) fn reader(self) -> impl Read {
        self.body.into_reader()
    }
}

/// A hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(settings: &HubSettings) -> Result<Self, Failure> {
        let endpoint: Uri = settings
            .endpoint
            .parse()
            .ok()
            .filter(|uri: &Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
            .ok_or_else(|| Failure::reply("it is no address such as https://huggingface.co"))?;
        let token = settings.token.as_deref().map(|token| {
            let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::reply("the token has characters that a header cannot contain"))?;
            header.set_sensitive(true);
            Ok(header)
        });
        let limit = Some(settings.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("ser-data/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(limit)
            .timeout_per_write(limit)
            .timeout_per_read(limit)
            .timeout_recv_response(limit);
        if endpoint.host().is_some_and(|host| ["localhost", "[::1]"].contains(&host) || host.starts_with("127.")) {
            config = config.proxy(None);
        }
        Ok(Client { agent: config.build().new_agent(), endpoint, token: token.transpose()? })
    }

    /// The JSON at a path of the hub.
    pub(super) fn json(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let mut answer = self.get(path, None)?;
        let body = answer.body.with_config().limit(LIST_BYTES).read_to_vec().map_err(Failure::broken)?;
        // A body that is cut off is told by its length, so this is no passing fault.
        serde_json::from_slice(&body).map_err(|error| Failure::reply(format!("its list of files is not JSON: {error}")))
    }

    /// A file at a path of the hub, from this byte on and up to another, after all redirects.
    pub(super) fn get(&self, path: &str, bytes: Option<&str>) -> Result<Answer, Failure> {
        let mut url: Uri = format!("{}{path}", self.endpoint.to_string().trim_end_matches('/'))
            .parse()
            .map_err(|error| Failure::reply(format!("{path} is no path: {error}")))?;
        let mut first: Option<HeaderMap> = None;
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&url);
            // Storage elsewhere gets no token.
            if let (Some(token), true) = (&self.token, self.is_hub(&url)) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            if let Some(bytes) = bytes {
                request = request.header(RANGE, bytes);
            }
            let (parts, body) = request.call().map_err(Failure::broken)?.into_parts();
            let (status, headers) = (parts.status, parts.headers);
            if !status.is_redirection() {
                if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                    return Ok(Answer { status, first: first.unwrap_or_else(|| headers.clone()), headers, body });
                }
                return Err(refused(status, &headers));
            }
            let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let location =
                location.ok_or_else(|| Failure::reply(format!("status {} without a location", status.as_u16())))?;
            let next = joined(&url, location)?;
            if url.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(Failure::reply("it redirects from https to http"));
            }
            url = next;
            first.get_or_insert(headers);
        }
        Err(Failure::reply(format!("it redirects more than {REDIRECTS} times")))
    }

    fn is_hub(&self, url: &Uri) -> bool {
        url.scheme() == self.endpoint.scheme() && url.authority() == self.endpoint.authority()
    }
}

/// A status that is not success.
fn refused(status: StatusCode, headers: &HeaderMap) -> Failure {
    let wait = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
    Failure {
        status: Some(status.as_u16()),
        problem: format!("status {}", status.as_u16()),
        may_pass: matches!(status.as_u16(), 408 | 425 | 429 | 500..=599),
        wait: wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    }
}

/// The address that a redirect leads to.
fn joined(from: &Uri, location: &str) -> Result<Uri, Failure> {
    let bad = || Failure::reply(format!("it redirects to {location:?}"));
    let text = match (from.scheme_str(), from.authority()) {
        (Some(scheme), Some(_)) if location.starts_with("//") => format!("{scheme}:{location}"),
        (Some(scheme), Some(authority)) if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
        _ => location.to_owned(),
    };
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let usable = uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"));
    usable.then_some(uri).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_addresses() {
        let from: Uri = "https://hub.example/a/b".parse().unwrap();
        for (location, to) in [
            ("https://cdn.example/x?y=1", "https://cdn.example/x?y=1"),
            ("/c?d", "https://hub.example/c?d"),
            ("//cdn.example/x", "https://cdn.example/x"),
        ] {
            assert_eq!(joined(&from, location).unwrap().to_string(), to);
        }
        for location in ["", "x", "?x", "ftp://hub.example/x", "file:///etc/passwd", "https://"] {
            assert!(joined(&from, location).unwrap_err().problem.contains("redirects to"), "{location}");
        }
    }

    #[test]
    fn waits_double_and_have_a_limit() {
        let failure = |wait| Failure { wait, ..Failure::broken("x") };
        assert_eq!(failure(None).wait(0), FIRST_WAIT);
        assert_eq!(failure(None).wait(2), 4 * FIRST_WAIT);
        assert_eq!(failure(None).wait(60), LONGEST_WAIT);
        assert_eq!(failure(Some(Duration::from_secs(7))).wait(0), Duration::from_secs(7));
        assert_eq!(failure(Some(Duration::from_secs(9999))).wait(0), LONGEST_WAIT);
    }
}
