//! The table of ratios, and the machine it was measured on.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde_json::{Value, json};

/// The rounds of one job against one peer.
pub(super) struct Comparison {
    /// The job's name.
    pub(super) job: &'static str,
    /// The peer's name.
    pub(super) peer: String,
    /// Unit of the results: `pairs/s`.
    pub(super) unit: &'static str,
    pub(super) rounds: Vec<Round>,
}

/// One round: the peer and ours in turn.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) peer: f64,
    pub(super) ours: f64,
    /// Peak memory of the peer's process and of ours, in MiB.
    pub(super) memory: Option<(u64, u64)>,
}

impl Round {
    fn to_json(self) -> Value {
        let (peer, ours) = self.memory.unzip();
        json!({"peer": self.peer, "ours": self.ours, "peer_memory_mib": peer, "our_memory_mib": ours})
    }
}

/// Median, least and greatest.
#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (last, half) = (sorted.len().saturating_sub(1), sorted.len() / 2);
        let median = if sorted.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 };
        Spread { median, min: at(0), max: at(last) }
    }
}

impl Comparison {
    fn ratios(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|round| round.ours / round.peer))
    }

    /// The median peak memory, the peer's and ours, in MiB.
    fn memory(&self) -> Option<(f64, f64)> {
        let of = |part: fn((u64, u64)) -> u64| {
            Spread::of(self.rounds.iter().filter_map(|round| round.memory).map(|memory| part(memory) as f64)).median
        };
        let (peer, ours) = (of(|memory| memory.0), of(|memory| memory.1));
        (peer > 0.0 && ours > 0.0).then_some((peer, ours))
    }
}

/// The table as Markdown, the machine above it.
pub(super) fn to_markdown(comparisons: &[Comparison]) -> String {
    let mut text = format!(
        "\n{}\n\n| job | peer | unit | peer's | ours | ratio, median | min | max | peak memory, MiB |\n\
         |---|---|---|---:|---:|---:|---:|---:|---:|\n",
        machine()
    );
    for comparison in comparisons {
        let peer = Spread::of(comparison.rounds.iter().map(|round| round.peer));
        let ours = Spread::of(comparison.rounds.iter().map(|round| round.ours));
        let ratio = comparison.ratios();
        let memory = comparison.memory().map(|(peer, ours)| format!("{peer:.0} and {ours:.0}")).unwrap_or_default();
        text.push_str(&format!(
            "| {} | {} | {} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {memory} |\n",
            comparison.job,
            comparison.peer,
            comparison.unit,
            peer.median,
            ours.median,
            ratio.median,
            ratio.min,
            ratio.max
        ));
    }
    text
}

/// The same with the results of every round.
pub(super) fn to_json(comparisons: &[Comparison]) -> Value {
    let rows: Vec<Value> = comparisons
        .iter()
        .map(|comparison| {
            let ratio = comparison.ratios();
            json!({
                "job": comparison.job,
                "peer": comparison.peer,
                "unit": comparison.unit,
                "rounds": comparison.rounds.iter().copied().map(Round::to_json).collect::<Vec<_>>(),
                "ratio": {"median": ratio.median, "min": ratio.min, "max": ratio.max},
            })
        })
        .collect();
    json!({"machine": machine(), "comparisons": rows})
}

/// The machine in words.
fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = available_parallelism().map_or(0, usize::from);
    let mut words = format!("{processor}, {cores} cores");
    let kibibytes = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    if let Some(kibibytes) = kibibytes {
        words.push_str(&format!(", {:.0} GiB of memory", kibibytes / 1024.0 / 1024.0));
    }
    let graphics = Command::new("nvidia-smi").args(["--query-gpu=name", "--format=csv,noheader"]).output();
    if let Some(output) = graphics.ok().filter(|output| output.status.success()) {
        words.push_str(&format!(", {}", String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", ")));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_ratios() {
        let round = |peer, ours, memory| Round { peer, ours, memory: Some((memory, 10)) };
        let rounds = vec![round(2.0, 6.0, 30), round(1.0, 2.0, 20), round(2.0, 8.0, 40)];
        let comparison = Comparison { job: "reward-tiny", peer: "peer".into(), unit: "pairs/s", rounds };
        assert_eq!(comparison.ratios(), Spread { median: 3.0, min: 2.0, max: 4.0 });
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).median, 1.5);
        assert!(
            to_markdown(&[comparison])
                .contains("| reward-tiny | peer | pairs/s | 2.0 | 6.0 | 3.00 | 2.00 | 4.00 | 30 and 10 |")
        );
    }
}
