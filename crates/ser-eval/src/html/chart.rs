//! Building blocks of every chart: an area with scales, grid and labels.

use std::fmt;

use super::markup::Markup;

/// A coordinate in the drawing's units, rounded to a tenth.
pub(crate) struct Px(pub(crate) f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

/// Position of text relative to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Maps data to drawing coordinates along one axis.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) domain: (f64, f64),
    pub(crate) range: (f64, f64),
}

impl Scale {
    pub(crate) fn at(&self, value: f64) -> f64 {
        let span = self.domain.1 - self.domain.0;
        let share = if span == 0.0 { 0.5 } else { (value - self.domain.0) / span };
        self.range.0 + share * (self.range.1 - self.range.0)
    }
}

/// Round numbers inside a domain: multiples of 1, 2 or 5 times a power of ten, about `wanted` of them.
pub(crate) fn ticks(domain: (f64, f64), wanted: f64) -> Vec<f64> {
    let step = nice_step((domain.1 - domain.0) / wanted);
    let (first, last) = ((domain.0 / step - 1e-9).ceil(), (domain.1 / step + 1e-9).floor());
    if !(first.is_finite() && last.is_finite() && last - first < 100.0) {
        return Vec::new();
    }
    (0..=(last - first).max(0.0) as u32).map(|i| (first + f64::from(i)) * step).collect()
}

/// The domain widened to whole steps on both sides.
pub(crate) fn nice_domain(domain: (f64, f64), wanted: f64) -> (f64, f64) {
    let step = nice_step((domain.1 - domain.0) / wanted);
    ((domain.0 / step + 1e-9).floor() * step, (domain.1 / step - 1e-9).ceil() * step)
}

/// The smallest of 1, 2 or 5 times a power of ten that is at least `rough`; 1 if `rough` is not a positive number.
pub(crate) fn nice_step(rough: f64) -> f64 {
    if !(rough.is_finite() && rough > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power)
}

/// A drawing that fills the available width.
pub(crate) struct Drawing {
    markup: Markup,
    width: f64,
    height: f64,
    label: String,
}

impl Drawing {
    /// `label` describes the drawing in words, for screen readers.
    pub(crate) fn new(width: f64, height: f64, label: String) -> Self {
        Drawing { markup: Markup::new(), width, height, label }
    }

    pub(crate) fn line(&mut self, class: &'static str, from: (f64, f64), to: (f64, f64)) {
        let (x1, y1, x2, y2) = (Px(from.0), Px(from.1), Px(to.0), Px(to.1));
        self.markup
            .open("line", &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)])
            .close("line");
    }

    pub(crate) fn path(&mut self, class: &'static str, points: &[(f64, f64)]) {
        let d: String = points
            .iter()
            .enumerate()
            .map(|(i, (x, y))| format!("{}{} {}", if i == 0 { "M" } else { "L" }, Px(*x), Px(*y)))
            .collect();
        self.markup.open("path", &[("class", &class), ("d", &d)]).close("path");
    }

    /// A rectangle between two corners, with a tooltip; nothing if it has no area.
    pub(crate) fn bar(&mut self, class: &'static str, x: (f64, f64), y: (f64, f64), hint: &str) {
        let (width, height) = ((x.1 - x.0).abs(), (y.1 - y.0).abs());
        if width < 0.05 || height < 0.05 {
            return;
        }
        let (left, top) = (Px(x.0.min(x.1)), Px(y.0.min(y.1)));
        self.markup
            .open(
                "rect",
                &[("class", &class), ("x", &left), ("y", &top), ("width", &Px(width)), ("height", &Px(height))],
            )
            .element("title", &[], hint)
            .close("rect");
    }

    pub(crate) fn dot(&mut self, class: &'static str, at: (f64, f64), radius: f64, hint: &str) {
        self.markup
            .open("circle", &[("class", &class), ("cx", &Px(at.0)), ("cy", &Px(at.1)), ("r", &Px(radius))])
            .element("title", &[], hint)
            .close("circle");
    }

    pub(crate) fn text(&mut self, class: &'static str, at: (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (Px(at.0), Px(at.1));
        self.markup.element("text", &[("class", &class), ("x", &x), ("y", &y), ("text-anchor", &anchor)], text);
    }

    /// Horizontal lines at `values`, each with its label to the left of `x.0`.
    pub(crate) fn grid(&mut self, y: Scale, x: (f64, f64), values: &[f64], label: impl Fn(f64) -> String) {
        for &value in values {
            let at = y.at(value);
            self.line("grid", (x.0, at), (x.1, at));
            self.text("tick", (x.0 - 6.0, at + 4.0), Anchor::End, &label(value));
        }
    }

    pub(crate) fn finish(self) -> Markup {
        let mut svg = Markup::new();
        let view = format!("0 0 {} {}", self.width, self.height);
        svg.wrap("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &self.label)], &self.markup);
        svg
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let close = |ours: Vec<f64>, expected: &[f64]| {
            assert_eq!(ours.len(), expected.len(), "{ours:?}");
            assert_abs_diff_eq!(ours.as_slice(), expected, epsilon = 1e-9);
        };
        close(ticks((0.0, 1.0), 4.0), &[0.0, 0.5, 1.0]);
        close(ticks((0.0, 1.0), 5.0), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        close(ticks((0.52, 0.71), 4.0), &[0.55, 0.6, 0.65, 0.7]);
        close(ticks((0.0, 1234.0), 4.0), &[0.0, 500.0, 1000.0]);
        assert!(ticks((0.0, f64::NAN), 4.0).is_empty());
        let (low, high) = nice_domain((0.52, 0.71), 4.0);
        assert_abs_diff_eq!(low, 0.5, epsilon = 1e-9);
        assert_abs_diff_eq!(high, 0.75, epsilon = 1e-9);
    }

    #[test]
    fn a_scale_without_extent_draws_in_the_middle() {
        assert_eq!(Scale { domain: (3.0, 3.0), range: (0.0, 10.0) }.at(3.0), 5.0);
        assert_eq!(Scale { domain: (0.0, 4.0), range: (100.0, 0.0) }.at(1.0), 75.0);
    }
}
