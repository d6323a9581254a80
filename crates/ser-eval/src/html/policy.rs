//! Sections about policies: win rates, training curves, sample answers.

use super::curves::{first, last, mark, over_steps};
use super::markup::Markup;
use super::sections::{few, legend, section};
use super::tables::{cell, heading, scrolling};
use crate::Estimate;
use crate::report::{Comparison, Curve, PolicyReport, PolicyTraining, Report, SamplePrompt, percent, thousands};

/// Number of samples shown at once; the others are folded.
const SHOWN: usize = 3;

/// Wins, ties and losses per comparison (the paper's Figure 4), and the numbers.
pub(crate) fn comparisons(report: &Report) -> Markup {
    let Some(policy) = report.policy.as_ref().filter(|policy| !policy.comparisons.is_empty()) else {
        return Markup::new();
    };
    let mut inside = Markup::new();
    for warning in policy.comparisons.iter().flat_map(Comparison::warnings) {
        inside.element("p", &[("class", &"few")], warning);
    }
    if let Some(least) = policy.comparisons.iter().filter(|c| c.counts.judged() > 0).min_by_key(|c| c.counts.judged()) {
        few(&mut inside, least.counts.judged(), "judged pair", least.win_rate.map_or(0.5, |rate| rate.value));
    }
    inside.append(&legend(&[("right", "win"), ("pool", "tie"), ("wrong", "lose")]));
    for comparison in policy.comparisons.iter().filter(|comparison| comparison.counts.judged() > 0) {
        inside.append(&bar(comparison));
    }
    let mut body = Markup::new();
    for comparison in &policy.comparisons {
        body.wrap("tr", &[], &row(comparison));
    }
    let names = [
        "Policies",
        "Win rate",
        "Interval",
        "Std. error",
        "At equal length",
        "Interval",
        "Contradictions",
        "Failed",
        "Mean lengths",
        "Judge",
    ];
    inside.append(&scrolling("headline", &heading(&names), &[body]));
    section(
        "Who answers better",
        "Answers to the same held-out prompts. Win rate counts a tie as half; a judge that contradicts itself between the two \
         orders is a tie (the share is of the pairs with different answers). Failed: no readable verdict, counted in no other column. At equal length: the win rate that a \
         logistic regression on the difference in length predicts for answers of the same length. Lengths in characters.",
        &inside,
    )
}

/// A bar of three parts with its numbers above it.
fn bar(comparison: &Comparison) -> Markup {
    let counts = comparison.counts;
    let share = |count: u64| count as f64 / counts.judged().max(1) as f64;
    let parts = [("right", "win", counts.wins), ("pool", "tie", counts.ties), ("wrong", "lose", counts.losses)];
    let mut caption = Markup::new();
    caption.element("strong", &[], format!("{} vs {}", comparison.policy, comparison.against));
    let shares = parts.map(|(_, name, count)| format!("{name} {} %", percent(share(count)))).join(", ");
    caption.element("span", &[], format!(" {shares} of {}", thousands(counts.judged())));
    let mut segments = Markup::new();
    for (class, name, count) in parts.into_iter().filter(|(_, _, count)| *count > 0) {
        let width = format!("width:{}%", percent(share(count)));
        segments.element("i", &[("class", &class), ("style", &width), ("title", &format!("{name}: {count}"))], "");
    }
    let mut inside = Markup::new();
    inside.wrap("figcaption", &[], &caption);
    inside.wrap("div", &[("class", &"parts"), ("role", &"img"), ("aria-label", &shares)], &segments);
    let mut figure = Markup::new();
    figure.wrap("figure", &[("class", &"versus")], &inside);
    figure
}

fn row(comparison: &Comparison) -> Markup {
    let Comparison { policy, against, judge, counts, win_rate, standard_error, length_controlled, .. } = comparison;
    let share = |estimate: &Option<Estimate>| estimate.map(|e| format!("{} %", percent(e.value)));
    let interval =
        |estimate: &Option<Estimate>| estimate.map(|e| format!("{} \u{2013} {}", percent(e.low), percent(e.high)));
    let mut cells = Markup::new();
    cells.element("th", &[("scope", &"row"), ("class", &"wide")], format!("{policy} vs {against}"));
    cell(&mut cells, share(win_rate));
    cell(&mut cells, interval(win_rate));
    cell(&mut cells, standard_error.map(percent));
    cell(&mut cells, share(length_controlled));
    cell(&mut cells, interval(length_controlled));
    let rate = comparison.contradiction_rate.filter(|_| counts.contradictions > 0);
    let rate = rate.map_or(String::new(), |rate| format!(" ({} %)", percent(rate)));
    cell(&mut cells, Some(format!("{}{rate}", thousands(counts.contradictions))));
    cell(&mut cells, Some(thousands(counts.failures)));
    cell(&mut cells, comparison.mean_lengths.map(|[ours, theirs]| format!("{ours:.0} / {theirs:.0}")));
    cells.element("td", &[("class", &"wide")], judge);
    cells
}

/// Reward (the paper's Figure 5), KL and length over the steps of PPO; losses over those of SFT and DPO.
pub(crate) fn training(report: &Report) -> Markup {
    let Some(policy) = &report.policy else { return Markup::new() };
    let ppo = |metric| curves(policy, PolicyTraining::Ppo, &[metric]);
    let mut targets: Vec<f64> = policy.stages.iter().filter_map(|stage| stage.target_kl).collect();
    targets.sort_by(f64::total_cmp);
    targets.dedup();
    let mut charts = Markup::new();
    let mut chart = |title: &str, note: &str, curves: &[(String, &Curve)], targets: &[f64]| {
        if curves.is_empty() {
            return;
        }
        let names: Vec<String> =
            curves.iter().map(|(name, curve)| format!("{name}: {} to {}", first(curve), last(curve))).collect();
        let mut entries: Vec<(&str, &str)> =
            names.iter().enumerate().map(|(i, name)| (mark(i), name.as_str())).collect();
        if !targets.is_empty() {
            entries.push(("whole", "target"));
        }
        let mut inside = legend(&entries);
        let curves: Vec<(&str, &Curve)> = curves.iter().map(|(name, curve)| (name.as_str(), *curve)).collect();
        inside.append(&over_steps(title, &curves, targets));
        charts.append(&section(title, note, &inside));
    };
    let rewards = ppo("env/reward_mean");
    if rewards.is_empty() {
        // Other programs may record only TRL's names.
        let note = "Mean score of the sampled answers as PPO used it: after scaling, normalization and penalties.";
        chart("Score over PPO steps", note, &ppo("objective/scores"), &[]);
    } else {
        let note = "Mean reward of the sampled answers as the reward model or function gave it, before any scaling, \
                    normalization or penalty. Different reward models have scales of their own.";
        chart("Reward over PPO steps", note, &rewards, &[]);
    }
    chart("KL over PPO steps", "Mean KL of an answer from the reference policy.", &ppo("objective/kl"), &targets);
    let lengths = ppo("tokens/responses_len_mean");
    chart("Answer length over PPO steps", "Mean number of tokens. A reward for mere length shows here.", &lengths, &[]);
    let losses = ["loss", "eval_loss"];
    chart("SFT loss", "Over steps, per answer token.", &curves(policy, PolicyTraining::Sft, &losses), &[]);
    chart("DPO loss", "Over steps.", &curves(policy, PolicyTraining::Dpo, &losses), &[]);
    let mut out = Markup::new();
    if !charts.is_empty() {
        out.wrap("div", &[("class", &"charts")], &charts);
    }
    out
}

/// The curves of these metrics of all stages of a kind, with distinct names.
fn curves<'r>(policy: &'r PolicyReport, training: PolicyTraining, metrics: &[&str]) -> Vec<(String, &'r Curve)> {
    let mut found = Vec::new();
    for stage in policy.stages.iter().filter(|stage| stage.training == training) {
        for curve in metrics.iter().filter_map(|metric| stage.curve(metric)) {
            let evaluation = if curve.metric.starts_with("eval_") { ", held-out" } else { "" };
            found.push((format!("{}{evaluation}", stage.name), curve));
        }
    }
    found
}

/// Answers side by side.
pub(crate) fn samples(report: &Report) -> Markup {
    let samples = report.policy.as_ref().map(|policy| policy.samples.as_slice()).unwrap_or_default();
    if samples.is_empty() {
        return Markup::new();
    }
    let (mut shown, mut folded) = (Markup::new(), Markup::new());
    for (i, sample) in samples.iter().enumerate() {
        if i < SHOWN { &mut shown } else { &mut folded }.append(&side_by_side(sample));
    }
    if !folded.is_empty() {
        let more = format!("{} more", samples.len() - SHOWN);
        shown.open("details", &[]).element("summary", &[], more).append(&folded).close("details");
    }
    section("Sample answers", "The same prompt, answered by each policy; its reward where there is one.", &shown)
}

fn side_by_side(sample: &SamplePrompt) -> Markup {
    let mut answers = Markup::new();
    for answer in &sample.answers {
        let mut inside = Markup::new();
        inside.open("h3", &[]).text(&answer.policy);
        if let Some(reward) = answer.reward {
            inside.element("span", &[("class", &"pill")], format!("{reward:.2}").replace('-', "\u{2212}"));
        }
        inside.close("h3");
        let (class, text) =
            if answer.text.is_empty() { ("said missing", "(no answer)") } else { ("said", answer.text.as_str()) };
        inside.element("p", &[("class", &class)], text);
        answers.wrap("div", &[], &inside);
    }
    let mut inside = Markup::new();
    inside.element("p", &[("class", &"said asked")], &sample.prompt).wrap("div", &[("class", &"answers")], &answers);
    let mut out = Markup::new();
    out.wrap("div", &[("class", &"sample")], &inside);
    out
}
