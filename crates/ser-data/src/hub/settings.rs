//! Settings of the hub: address, cache, token.

use std::path::PathBuf;
use std::time::Duration;

/// Where repositories are fetched from and cached.
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The hub's URL, without a trailing slash.
    pub endpoint: String,
    /// The cache's folder, which contains `models--owner--name` and the like.
    pub cache: PathBuf,
    /// Token for private and gated repositories.
    pub token: Option<String>,
    /// Whether only the cache is used.
    pub offline: bool,
    /// Whether downloads show progress on a terminal.
    pub progress: bool,
    /// The longest wait for a connection, for the head of an answer, and for the next of its bytes.
    pub timeout: Duration,
}

impl HubSettings {
    /// The settings of the environment variables, as for Hugging Face's Python tools.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let flag = |name| {
            variable(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let user = || std::env::home_dir().unwrap_or_default().join(".cache");
            variable("XDG_CACHE_HOME").map_or_else(user, PathBuf::from).join("huggingface")
        });
        let token_path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = variable("HF_TOKEN").or_else(|| std::fs::read_to_string(token_path).ok());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        HubSettings {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache: variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty()),
            offline: flag("HF_HUB_OFFLINE"),
            progress: !flag("HF_HUB_DISABLE_PROGRESS_BARS"),
            timeout: variable("HF_HUB_DOWNLOAD_TIMEOUT")
                .and_then(|seconds| seconds.trim().parse().ok())
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or(Duration::from_secs(10)),
        }
    }
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_pythons_meaning() {
        let home = tempfile::tempdir().unwrap();
        let from = |pairs: &[(&str, &str)]| {
            HubSettings::from_variables(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string()))
        };
        let home_text = home.path().to_str().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let settings = from(&[("HF_HOME", home_text), ("HF_ENDPOINT", "http://localhost:1/")]);
        assert_eq!((settings.endpoint.as_str(), settings.token.as_deref()), ("http://localhost:1", Some("hf_file")));
        assert_eq!((settings.cache, settings.offline, settings.progress), (home.path().join("hub"), false, true));
        let settings =
            from(&[("HF_HOME", home_text), ("HF_TOKEN", "hf_env"), ("HF_HUB_OFFLINE", "1"), ("HF_HUB_CACHE", "/c")]);
        assert_eq!((settings.token.as_deref(), settings.offline), (Some("hf_env"), true));
        assert_eq!((settings.cache, settings.timeout), (PathBuf::from("/c"), Duration::from_secs(10)));
        for (seconds, timeout) in [("2.5", 2.5), ("0", 10.0), ("-1", 10.0), ("soon", 10.0)] {
            let settings = from(&[("HF_HUB_DOWNLOAD_TIMEOUT", seconds)]);
            assert_eq!(settings.timeout, Duration::from_secs_f64(timeout), "{seconds}");
        }
        assert!(!format!("{settings:?}", settings = from(&[("HF_TOKEN", "hf_secret")])).contains("secret"));
        assert!(from(&[("XDG_CACHE_HOME", "/x")]).cache.ends_with("huggingface/hub"));
    }
}
