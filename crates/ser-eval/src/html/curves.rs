//! Metrics over training steps.

use super::chart::{Anchor, Drawing, Scale, nice_domain, nice_step, ticks};
use super::markup::Markup;
use crate::report::{Curve, thousands};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 10.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 226.0;

/// Maximum number of points drawn; more cannot be told apart.
const MOST_POINTS: usize = 300;

/// From this number of points on, a running mean is drawn over the values.
const NOISY: usize = 40;

/// Line styles of the style sheet, per series.
const COLOURS: [[&str; 2]; 5] = [
    ["line series-0", "line raw series-0"],
    ["line series-1", "line raw series-1"],
    ["line series-2", "line raw series-2"],
    ["line series-3", "line raw series-3"],
    ["line series-4", "line raw series-4"],
];

/// The class of the `i`th series in a legend.
pub(crate) fn mark(i: usize) -> &'static str {
    ["series-0", "series-1", "series-2", "series-3", "series-4"].get(i % COLOURS.len()).copied().unwrap_or_default()
}

/// Curves on common axes, with dashed lines at `targets`.
pub(crate) fn over_steps(what: &str, curves: &[(&str, &Curve)], targets: &[f64]) -> Markup {
    let all: Vec<Vec<(f64, f64)>> = curves.iter().map(|(_, curve)| thinned(curve)).collect();
    let mut label = format!("{what}:");
    for (name, curve) in curves {
        label.push_str(&format!(" {name} from {} to {};", first(curve), last(curve)));
    }
    let mut drawing = Drawing::new(WIDTH, HEIGHT, label);
    let values = || all.iter().flatten().map(|(_, value)| *value).chain(targets.iter().copied());
    let steps = || all.iter().flatten().map(|(step, _)| *step);
    let x = Scale { domain: bounds(steps()), range: (LEFT, RIGHT) };
    let mut domain = bounds(values());
    if domain.0 == domain.1 {
        // A constant curve is drawn in the middle.
        let reach = if domain.0 == 0.0 { 1.0 } else { 0.1 * domain.0.abs() };
        domain = (domain.0 - reach, domain.1 + reach);
    }
    let y = Scale { domain: nice_domain(domain, 4.0), range: (BOTTOM, TOP) };
    let step = nice_step((y.domain.1 - y.domain.0) / 4.0);
    drawing.grid(y, (LEFT, RIGHT), &ticks(y.domain, 4.0), |value| axis_label(value, step));
    for target in targets {
        drawing.line("full", (LEFT, y.at(*target)), (RIGHT, y.at(*target)));
    }
    for (i, points) in all.iter().enumerate() {
        let Some([line, raw]) = COLOURS.get(i % COLOURS.len()).copied() else { continue };
        let to_drawing = |points: &[(f64, f64)]| points.iter().map(|(s, v)| (x.at(*s), y.at(*v))).collect::<Vec<_>>();
        if points.len() >= NOISY {
            drawing.path(raw, &to_drawing(points));
            drawing.path(line, &to_drawing(&running_mean(points, points.len() / 20)));
        } else {
            drawing.path(line, &to_drawing(points));
        }
        if let [only] = points.as_slice() {
            drawing.dot("dot", (x.at(only.0), y.at(only.1)), 3.0, what);
        }
    }
    let whole = |value: &f64| value.fract().abs() < 1e-9;
    for value in ticks(x.domain, 5.0).into_iter().filter(whole) {
        drawing.text("tick", (x.at(value), BOTTOM + 18.0), Anchor::Middle, &thousands(value.max(0.0).round() as u64));
    }
    drawing.finish()
}

/// A curve's first value, formatted.
pub(crate) fn first(curve: &Curve) -> String {
    curve.values.first().map(|value| significant(*value)).unwrap_or_default()
}

/// A curve's last value, or the mean of its last twentieth if it is noisy; formatted.
pub(crate) fn last(curve: &Curve) -> String {
    let n = curve.values.len();
    let end = curve.values.get(n - n.min(if n >= NOISY { n / 20 } else { 1 })..).unwrap_or_default();
    if end.is_empty() { String::new() } else { significant(end.iter().sum::<f64>() / end.len() as f64) }
}

/// Three significant digits, with a true minus.
fn significant(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) };
    format!("{value:.*}", digits as usize).replace('-', "\u{2212}")
}

/// A tick label with as many decimals as the axis's step.
fn axis_label(value: f64, step: f64) -> String {
    let size = value.abs();
    if size >= 1e4 {
        return format!("{:.0}k", value / 1e3).replace('-', "\u{2212}");
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    // Zero has no minus sign.
    format!("{:.decimals$}", value + 0.0).replace('-', "\u{2212}")
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// Step and value of each point; neighbours are averaged if there are too many points.
fn thinned(curve: &Curve) -> Vec<(f64, f64)> {
    let points: Vec<(f64, f64)> =
        curve.steps.iter().map(|step| *step as f64).zip(curve.values.iter().copied()).collect();
    let group = points.len().div_ceil(MOST_POINTS).max(1);
    points.chunks(group).map(mean).collect()
}

/// The mean of each point and up to `reach` points on either side.
fn running_mean(points: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let around = |i: usize| {
        // The window is narrower at the ends, so that the mean stays centred.
        let reach = reach.min(i).min(points.len() - 1 - i);
        points.get(i - reach..=i + reach).unwrap_or_default()
    };
    (0..points.len()).map(|i| mean(around(i))).collect()
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len().max(1) as f64;
    (points.iter().map(|(step, _)| step).sum::<f64>() / n, points.iter().map(|(_, value)| value).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn numbers_are_formatted() {
        assert_eq!(
            [0.0, 1.0, 0.123_45, -12.34, 1234.5, 0.000_012].map(significant),
            ["0", "1.00", "0.123", "\u{2212}12.3", "1234", "0.000012"]
        );
        assert_eq!(axis_label(0.300_000_000_000_000_04, 0.1), "0.3");
        assert_eq!(
            (axis_label(-0.0, 0.5), axis_label(-2.0, 2.0), axis_label(20_000.0, 5000.0)),
            ("0.0".to_owned(), "\u{2212}2".to_owned(), "20k".to_owned())
        );
    }

    #[test]
    fn a_mean_of_a_straight_line_is_the_line() {
        let line: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        for (point, mean) in line.iter().zip(running_mean(&line, 3)) {
            assert_abs_diff_eq!(point.0, mean.0, epsilon = 1e-9);
            assert_abs_diff_eq!(point.1, mean.1, epsilon = 1e-9);
        }
        let curve = Curve { metric: String::new(), steps: (1..=1000).collect(), values: vec![3.0; 1000] };
        let thin = thinned(&curve);
        assert_eq!((thin.len(), thin.first(), thin.last()), (250, Some(&(2.5, 3.0)), Some(&(998.5, 3.0))));
    }
}
