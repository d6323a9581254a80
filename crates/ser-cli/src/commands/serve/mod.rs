//! `ser serve`.

mod served;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::Args;
use ser::status::{Anchor, FittedAnchor};
use ser_serve::{ApiKey, RewardServer, ServeSettings, Stop};

use super::scoring_model::ScoringModel;
use crate::flags::Flags;
use crate::output;
use served::ServedModel;

/// The environment variable of the API key.
const KEY: &str = "SER_API_KEY";

/// Serves a reward model over HTTP
///
/// Answers OpenRLHF's remote reward requests (POST /get_reward), vLLM's for classifiers (POST /classify, POST /score), and
/// POST /v1/rewards: {"prompt": TEXT or MESSAGES, "answers": [TEXT, ..]}, {"inputs": [such objects]} or {"conversations":
/// [MESSAGES, ..]}. GET /health reports that the model is ready, GET /metrics has counters for Prometheus.
///
/// Scores are those of `ser score`: template, end token and length limit are those of the training, which ser.json beside the
/// adapter records. /get_reward and /classify take texts that a template has already written, unless --apply-template is
/// given; the other paths write them. The address is printed on standard output once the server is ready. If the environment
/// variable SER_API_KEY is set, requests need the header `Authorization: Bearer KEY`. After Ctrl-C or SIGTERM the server
/// answers what it has accepted, and ends.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Address to listen on; any other than a loopback address is reachable from other machines
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Name of the model in replies [default: the adapter's or the model's folder]
    #[arg(long)]
    name: Option<String>,
    /// Pairs per batch
    #[arg(long, default_value_t = ServeSettings::default().batch_pairs)]
    batch_pairs: usize,
    /// Pairs that may wait; a request beyond that gets 503
    #[arg(long, default_value_t = ServeSettings::default().queue_pairs)]
    queue: usize,
    /// Texts per request; a larger one gets 413
    #[arg(long, default_value_t = ServeSettings::default().request_texts)]
    max_texts: usize,
    /// MiB per request; a larger one gets 413
    #[arg(long, default_value_t = ServeSettings::default().request_bytes >> 20)]
    max_body: usize,
    /// /get_reward: each query is its prompt followed by an answer, and the model's template writes both
    #[arg(long)]
    apply_template: bool,
    /// /get_reward with --apply-template: a text, such as <s>, to remove from both ends of queries and prompts; may be given
    /// several times
    #[arg(long, value_name = "TEXT", requires = "apply_template", allow_hyphen_values = true)]
    strip: Vec<String>,
    /// /get_reward: answers sigmoid(r) as the reward
    #[arg(long)]
    probability: bool,
    /// /v1/rewards: the offset c of the anchored probability, sigmoid((r - c) / T)
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    anchor_offset: Option<f64>,
    /// /v1/rewards: the temperature T of the anchored probability
    #[arg(long, value_name = "T")]
    anchor_temperature: Option<f64>,
    #[command(flatten)]
    model: ScoringModel,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (config, device) = arguments.flags.load_with_device(&[])?;
    let Some(request_bytes) = arguments.max_body.checked_mul(1 << 20) else {
        bail!("--max-body is {} MiB; give less", arguments.max_body);
    };
    let api_key = match std::env::var(KEY) {
        Ok(key) if key.trim().is_empty() => bail!("{KEY} is empty; unset it, or give it a key"),
        Ok(key) => Some(ApiKey::new(key.trim())),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => bail!("{KEY} is not UTF-8"),
    };
    let has_key = api_key.is_some();
    let named = arguments.model.adapter.as_ref().or(config.run.model.as_ref());
    let settings = ServeSettings {
        model: arguments.name.clone().unwrap_or_else(|| name_of(named)),
        batch_pairs: arguments.batch_pairs,
        queue_pairs: arguments.queue,
        request_texts: arguments.max_texts,
        request_bytes,
        apply_template: arguments.apply_template,
        strip: arguments.strip.clone(),
        probability: arguments.probability,
        anchor: anchor(&arguments, config.evolution.anchor),
        thresholds: config.evolution.thresholds,
        api_key,
        ..ServeSettings::default()
    };
    // Before the model is loaded, which may take minutes.
    settings.clone().check()?;
    let listener = TcpListener::bind((arguments.host, arguments.port))
        .with_context(|| format!("cannot listen on {}, port {}", arguments.host, arguments.port))?;
    let model = ServedModel(arguments.model.load(&config, device)?);

    let stop = Stop::new();
    let (of_handler, asked) = (stop.clone(), AtomicBool::new(false));
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            // 128 + SIGINT, the exit code of shells.
            std::process::exit(130);
        }
        output::note("answering what was accepted; once more to stop at once");
        of_handler.stop();
    })
    .context("cannot listen for Ctrl-C")?;

    let address = listener.local_addr().context("cannot listen")?;
    if !address.ip().is_loopback() && !has_key {
        output::note(format_args!(
            "warning: {KEY} is not set, so any machine that reaches {address} can send requests"
        ));
    }
    let server = RewardServer::start(model, settings)?;
    let mut out = io::stdout().lock();
    writeln!(out, "http://{address}")?;
    out.flush()?;
    drop(out);
    Ok(server.run(listener, &stop)?)
}

/// The last part of a folder's path.
fn name_of(folder: Option<&PathBuf>) -> String {
    let name = folder.and_then(|folder| folder.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "reward-model".to_owned())
}

/// The anchor that flags give. The setting `loop.anchor` alone has no numbers, except that of pairs, which needs none.
fn anchor(arguments: &Arguments, setting: Anchor) -> FittedAnchor {
    let (offset, temperature) = (arguments.anchor_offset, arguments.anchor_temperature);
    let anchor = match (offset, temperature, setting) {
        (None, None, Anchor::PerPair) => Anchor::PerPair,
        (None, None, _) => Anchor::None,
        _ => Anchor::Fitted,
    };
    FittedAnchor { anchor, offset: offset.unwrap_or(0.0), temperature: temperature.unwrap_or(1.0) }
}
