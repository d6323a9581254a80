//! The study's tables, as Markdown, with intervals over seeds.

use anyhow::{Context, Result};

use super::runs::SeedResult;
use super::{Seeds, Variant};

/// A number of a run that a table shows; `None` where the run has no such number.
type Metric = fn(&SeedResult) -> Option<f64>;

/// Two-sided 95 % quantiles of Student's t with 1 to 30 degrees of freedom.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Mean, standard deviation and half the width of the 95 % t-interval of numbers, one of each seed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    n: usize,
    mean: f64,
    /// With n - 1 in the denominator; none for one number.
    std: Option<f64>,
    half_width: Option<f64>,
}

impl Spread {
    fn of(numbers: &[f64]) -> Option<Self> {
        let n = numbers.len();
        if n == 0 {
            return None;
        }
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
        let std = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        // Over 30 degrees of freedom the last quantile is a little too large, never too small.
        let t = n.checked_sub(2).and_then(|index| T_95.get(index.min(T_95.len() - 1)));
        let half_width = std.zip(t).map(|(std, t)| t * std / (n as f64).sqrt());
        Some(Spread { n, mean, std, half_width })
    }
}

/// The variant with the highest mean validation accuracy; of equals the first.
pub(crate) fn best(variants: &[(&Variant, &Vec<SeedResult>)]) -> Result<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, (variant, outcomes)) in variants.iter().enumerate() {
        let mean = validation(outcomes).with_context(|| format!("{}: no run has validation pairs", variant.name))?.mean;
        if best.is_none_or(|(_, highest)| mean > highest) {
            best = Some((index, mean));
        }
    }
    Ok(best.context("no variant")?.0)
}

fn validation(outcomes: &[SeedResult]) -> Option<Spread> {
    Spread::of(&outcomes.iter().filter_map(|outcome| outcome.validation).collect::<Vec<_>>())
}

/// The table of the choice.
pub(crate) fn choice(variants: &[(&Variant, &Vec<SeedResult>)], seeds: &Seeds, best: usize) -> String {
    let (first, last) = (seeds.start(), seeds.end());
    let mut text = format!(
        "Settings chosen by validation accuracy on seeds {first} to {last}; no test pair was looked at.\n\n\
         | variant | settings | validation pairs right, %, mean (standard deviation) | seeds | chosen |\n\
         |---|---|---|---|---|\n"
    );
    for (index, (variant, outcomes)) in variants.iter().enumerate() {
        let (cell, n) = validation(outcomes).map_or(("none".to_owned(), 0), |spread| (percent(spread), spread.n));
        let mark = if index == best { "yes" } else { "" };
        text += &format!("| {} | {} | {cell} | {n} | {mark} |\n", variant.name, settings(variant));
    }
    text + "\n"
}

/// The table of the report: a row per seed, means, and paired differences with their intervals.
pub(crate) fn report(variant: &Variant, outcomes: &[SeedResult]) -> Result<String> {
    let accuracies: [(&str, Metric); 5] = [
        ("Loop 0", |o| o.loop_0),
        ("SER", |o| o.ser),
        ("Full", |o| o.full),
        ("random", |o| o.random),
        ("oracle", |o| o.oracle),
    ];
    let differences: [(&str, Metric); 3] = [
        ("SER - Loop 0", |o| Some(o.ser? - o.loop_0?)),
        ("SER - random", |o| Some(o.ser? - o.random?)),
        ("SER - Full", |o| Some(o.ser? - o.full?)),
    ];
    let columns = || accuracies.iter().chain(&differences);
    let mut text = format!("Variant {} ({}), test pairs right in %:\n\n| seed |", variant.name, settings(variant));
    columns().for_each(|(name, _)| text += &format!(" {name} |"));
    text += &format!("\n|---{}|\n", "|---".repeat(columns().count()));
    for outcome in outcomes {
        text += &format!("| {} |", outcome.seed);
        for (_, of) in columns() {
            text += &of(outcome).map_or(" none |".to_owned(), |share| format!(" {:.1} |", 100.0 * share));
        }
        text += "\n";
    }
    let spread = |of: fn(&SeedResult) -> Option<f64>| Spread::of(&outcomes.iter().filter_map(of).collect::<Vec<_>>());
    text += "| mean (standard deviation) |";
    columns().for_each(|(_, of)| text += &spread(*of).map_or(" none |".to_owned(), |s| format!(" {} |", percent(s))));
    text += "\n\nPaired differences over seeds, in points, with 95 % t-intervals:\n\n| difference | mean | interval | n |\n\
             |---|---|---|---|\n";
    for (name, of) in differences {
        let Some(Spread { n, mean, half_width, .. }) = spread(of) else { continue };
        let interval = half_width.map_or("none".to_owned(), |half| {
            format!("{:+.1} to {:+.1}", 100.0 * (mean - half), 100.0 * (mean + half))
        });
        text += &format!("| {name} | {:+.1} | {interval} | {n} |\n", 100.0 * mean);
    }
    Ok(text)
}

fn percent(spread: Spread) -> String {
    let std = spread.std.map_or(String::new(), |std| format!(" ({:.1})", 100.0 * std));
    format!("{:.1}{std}", 100.0 * spread.mean)
}

fn settings(variant: &Variant) -> String {
    if variant.settings.is_empty() { "the demo's".to_owned() } else { format!("`{}`", variant.settings.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str) -> Variant {
        Variant { name: name.into(), settings: Vec::new() }
    }

    #[test]
    fn intervals_are_students() {
        // 1, 2, 3, 4: mean 2.5, squares 5, so std sqrt(5/3) = 1.29099; t with 3 degrees of freedom is 3.182.
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((spread.std.unwrap() - 1.290_994).abs() < 1e-6);
        assert!((spread.half_width.unwrap() - 3.182 * 1.290_994 / 2.0).abs() < 1e-5);
        assert_eq!(Spread::of(&[2.0]).unwrap(), Spread { n: 1, mean: 2.0, std: None, half_width: None });
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[0.0; 50]).unwrap().half_width, Some(0.0));
    }

    #[test]
    fn the_choice_sees_validation_alone() {
        let run = |validation: f64, ser: f64| SeedResult {
            validation: Some(validation),
            ser: Some(ser),
            ..SeedResult::default()
        };
        let (a, b) = (vec![run(0.5, 0.9), run(0.7, 0.9)], vec![run(0.6, 0.1), run(0.8, 0.1)]);
        let (demo, other) = (variant("demo"), variant("other"));
        let rows = [(&demo, &a), (&other, &b)];
        assert_eq!(best(&rows).unwrap(), 1);
        let text = choice(&rows, &(0..=1), 1);
        assert!(text.contains("| other | the demo's | 70.0 (14.1) | 2 | yes |"), "{text}");
        let (same, none) = (vec![run(0.6, 0.0); 2], vec![SeedResult::default()]);
        assert_eq!(best(&[(&demo, &same), (&other, &same)]).unwrap(), 0);
        assert_eq!(best(&[(&demo, &none)]).unwrap_err().to_string(), "demo: no run has validation pairs");
    }

    #[test]
    fn the_report_pairs_by_seed() {
        let run = |seed, loop_0, ser, random| SeedResult {
            seed,
            loop_0: Some(loop_0),
            ser: Some(ser),
            random: Some(random),
            ..SeedResult::default()
        };
        let text = report(&variant("demo"), &[run(5, 0.80, 0.90, 0.91), run(6, 0.90, 0.94, 0.91)]).unwrap();
        assert!(text.contains("| 5 | 80.0 | 90.0 | none | 91.0 | none | 10.0 | -1.0 | none |"), "{text}");
        // Differences 10 and 4: mean 7, std 4.243, half 12.706 * 4.243 / sqrt 2 = 38.1.
        assert!(text.contains("| SER - Loop 0 | +7.0 | -31.1 to +45.1 | 2 |"), "{text}");
        assert!(text.contains("| SER - random | +1.0 |"), "{text}");
        assert!(!text.contains("| SER - Full | +") && !text.contains("| SER - Full | -1"), "{text}");
    }
}
