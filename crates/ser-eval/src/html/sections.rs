//! The page's sections, each computed from the report alone.

use super::markup::Markup;
use super::plots::{accuracy_per_loop, delta_histogram, kept_per_loop, reliability, status_name};
use super::tables::{self, cell, heading, scrolling};
use crate::Estimate;
use crate::report::{
    Baseline, BaselineKind, Count, Report, few_pairs, few_test_pairs, percent, points, thousands, what_changed,
    what_steps, whole_percent,
};

/// A section with a heading and a sentence on how to read it.
pub(super) fn section(title: &str, note: &str, inside: &Markup) -> Markup {
    let mut content = Markup::new();
    content.element("h2", &[], title);
    if !note.is_empty() {
        content.element("p", &[("class", &"note")], note);
    }
    content.append(inside);
    let mut section = Markup::new();
    section.wrap("section", &[], &content);
    section
}

/// A warning if a value comes from few pairs.
pub(super) fn few(inside: &mut Markup, pairs: u64, name: &str, share: f64) {
    caution(inside, few_pairs(pairs, name, share));
}

/// The same for an accuracy on the test pairs.
fn few_test(inside: &mut Markup, accuracy: Estimate) {
    caution(inside, few_test_pairs(accuracy));
}

fn caution(inside: &mut Markup, text: Option<String>) {
    if let Some(text) = text {
        let text =
            format!("{}{}.", text.get(..1).unwrap_or_default().to_uppercase(), text.get(1..).unwrap_or_default());
        inside.element("p", &[("class", &"few")], text);
    }
}

/// The title, the result in a sentence, and the four most important numbers.
pub(crate) fn opening(report: &Report) -> Markup {
    let mut header = Markup::new();
    header.element("p", &[("class", &"kicker")], "Self-Evolved Reward Learning \u{b7} report");
    header.element("h1", &[], &report.title);
    let Some(ser) = report.baseline(BaselineKind::Ser) else {
        return header;
    };
    let full = report.baseline(BaselineKind::Full);
    header.element("p", &[("class", &"lead")], result_sentence(report, ser, full));
    let sentences = report.changes.as_ref().map(what_changed).into_iter().chain(what_steps(report));
    let sentences: Vec<String> =
        sentences.chain(report.stopped.as_ref().map(|stopped| format!("The loop ended: {stopped}."))).collect();
    if !sentences.is_empty() {
        header.element("p", &[("class", &"note")], sentences.join(" "));
    }
    few_test(&mut header, ser.evaluation.accuracy);

    let accuracy = ser.evaluation.accuracy;
    let range = |low: f64, high: f64, show: fn(f64) -> String| format!("interval {} to {}", show(low), show(high));
    let mut tiles = Markup::new();
    let mut tile = |name: &str, number: String, detail: String| {
        let mut inside = Markup::new();
        inside.element("dt", &[], name);
        inside.element("dd", &[("class", &"figure")], number).element("dd", &[("class", &"detail")], detail);
        tiles.wrap("div", &[("class", &"tile")], &inside);
    };
    tile("SER, test accuracy", format!("{} %", percent(accuracy.value)), range(accuracy.low, accuracy.high, percent));
    if let Some(gain) = ser.gain {
        tile("Points over Loop 0", points(gain.value), range(gain.low, gain.high, points));
    }
    if let (Some(share), Some(full)) = (ser.gap_closed, full) {
        let detail = format!("Full reaches {} %", percent(full.evaluation.accuracy.value));
        tile("Of the gap to Full, closed", whole_percent(share), detail);
    }
    let detail = match full.filter(|full| full.human_labels > 0) {
        Some(full) => format!("of {} that Full uses", thousands(full.human_labels)),
        None => "of the training pairs".to_owned(),
    };
    tile("Human labels used", thousands(ser.human_labels), detail);
    header.wrap("dl", &[("class", &"tiles")], &tiles);
    header
}

fn result_sentence(report: &Report, ser: &Baseline, full: Option<&Baseline>) -> String {
    let accuracy = ser.evaluation.accuracy;
    let mut text = format!(
        "With {} human labels, SER ranks {} % of {} held-out pairs right",
        thousands(ser.human_labels),
        percent(accuracy.value),
        thousands(accuracy.pairs)
    );
    if let Some(loop0) = report.baseline(BaselineKind::Loop0) {
        text.push_str(&format!(
            "; trained on those labels alone, it is {} %",
            percent(loop0.evaluation.accuracy.value)
        ));
    }
    if let Some(full) = full {
        let reached = percent(full.evaluation.accuracy.value);
        text.push_str(&format!(", and with all {} labels {reached} %", thousands(full.human_labels)));
    }
    text.push('.');
    text
}

/// The report's warnings.
pub(crate) fn warnings(report: &Report) -> Markup {
    let mut out = Markup::new();
    if report.warnings.is_empty() {
        return out;
    }
    let mut items = Markup::new();
    for warning in &report.warnings {
        items.element("li", &[], warning);
    }
    let mut inside = Markup::new();
    inside.element("h2", &[], "Before you trust these numbers").wrap("ul", &[], &items);
    out.wrap("section", &[("class", &"warnings")], &inside);
    out
}

/// The headline table.
pub(crate) fn comparison(report: &Report) -> Markup {
    if report.iterations.is_empty() && report.baselines.is_empty() {
        return Markup::new();
    }
    section(
        "Comparison",
        "Accuracy is the share of held-out pairs whose chosen answer scores strictly higher; ties are wrong. Intervals are \
         bootstrap percentiles (at 95 % unless the settings say otherwise); the thin line marks Loop 0. Gap closed is how \
         far from Loop 0 to Full. Random: the same loops, each on as many pool pairs as SER kept, drawn blindly. \
         Oracle: the very pairs SER kept, with human labels.",
        &tables::headline(report),
    )
}

/// Accuracy and pairs kept per iteration, side by side, and a table of the iterations.
pub(crate) fn loops(report: &Report) -> Markup {
    let mut out = Markup::new();
    if report.iterations.is_empty() {
        return out;
    }
    let mut accuracy = Markup::new();
    let full = report.baseline(BaselineKind::Full).map(|_| ("whole", "trained on all labels (Full)"));
    if let Some(last) = report.iterations.last() {
        few_test(&mut accuracy, last.evaluation.accuracy);
    }
    accuracy.append(&legend(&full.into_iter().collect::<Vec<_>>())).append(&accuracy_per_loop(report));
    let mut charts = Markup::new();
    charts.append(&section(
        "Accuracy per loop",
        "On the test pairs, with intervals. The filled dot is the result.",
        &accuracy,
    ));
    if report.iterations.iter().any(|r| r.selection.is_some()) {
        let selections: Vec<_> = report.iterations.iter().filter_map(|r| r.selection.as_ref()).collect();
        let mut entries = vec![("human", "human labels (Loop 0)")];
        if selections.iter().any(|s| s.precision.is_some()) {
            entries.extend([("right", "kept, label right"), ("wrong", "kept, label wrong")]);
        } else {
            entries.push(("right", "kept"));
        }
        if selections.iter().any(|s| s.precision.is_some_and(|p| p.pairs < s.kept)) {
            entries.push(("unjudged", "kept, no gold label"));
        }
        entries.push(("pool", "pool"));
        let mut kept = Markup::new();
        kept.append(&legend(&entries)).append(&kept_per_loop(report));
        let note = "Loop 0 learns from the labelled seed; each later loop from the pool pairs that the model before labelled and \
                    was sure of. Right: as the pool's own labels have it.";
        charts.append(&section("Pairs kept per loop", note, &kept));
    }
    out.wrap("div", &[("class", &"charts")], &charts);
    let mut by_loop = Markup::new();
    let last = report
        .iterations
        .iter()
        .rev()
        .find_map(|iteration| Some((iteration.validation_pairs?, iteration.validation_accuracy?)));
    if let Some((pairs, accuracy)) = last {
        few(&mut by_loop, pairs, "validation pair", accuracy);
    }
    by_loop.append(&tables::loops(report));
    out.append(&section(
        "Loop by loop",
        "Status is the state of the model that labelled the loop's pairs. Label precision: kept pairs whose own label agrees \
         with the pool's label, which only this audit reads; where the pool's labels are noisy, it stays under 100 % even if \
         every label is right. Flip rate: pairs labelled in the loop before whose label changed.",
        &by_loop,
    ));
    out
}

pub(super) fn legend(entries: &[(&str, &str)]) -> Markup {
    let mut inside = Markup::new();
    for (class, name) in entries {
        let mut entry = Markup::new();
        entry.element("i", &[("class", class)], "").text(name);
        inside.wrap("span", &[], &entry);
    }
    let mut legend = Markup::new();
    if !entries.is_empty() {
        legend.wrap("p", &[("class", &"legend")], &inside);
    }
    legend
}

/// The pool by Delta, a small plot per iteration.
pub(crate) fn deltas(report: &Report) -> Markup {
    let mut multiples = Markup::new();
    for iteration in &report.iterations {
        let Some(selection) = iteration.selection.as_ref().filter(|s| !s.delta_histogram.is_empty()) else {
            continue;
        };
        let mut figure = Markup::new();
        figure.open("figcaption", &[]).element("strong", &[], &iteration.name);
        let status = iteration.status.map(|s| format!(" {}, ", status_name(s))).unwrap_or_else(|| " ".to_owned());
        let kept = format!("{status}{} of {} kept", thousands(selection.kept), thousands(selection.pool));
        figure.element("span", &[], kept).close("figcaption");
        figure.append(&delta_histogram(iteration, &selection.delta_histogram));
        multiples.wrap("figure", &[], &figure);
    }
    if multiples.is_empty() {
        return Markup::new();
    }
    let mut inside = legend(&[("right", "kept"), ("pool", "pool")]);
    let mut grid = Markup::new();
    grid.wrap("div", &[("class", &"multiples")], &multiples);
    inside.append(&grid);
    section(
        "How sure, and how right",
        "Pool pairs by Delta, the distance of their answers' sigmoid scores. Line: share of the pairs with a gold label whose \
         higher-scored answer is the gold one. A filter on Delta makes sense where the line rises.",
        &inside,
    )
}

/// The reliability of SER's model.
pub(crate) fn calibration(report: &Report) -> Markup {
    let Some(calibration) = &report.calibration else {
        return Markup::new();
    };
    let mut body = Markup::new();
    for bin in calibration.bins.iter().filter(|bin| bin.pairs > 0) {
        let mut cells = Markup::new();
        let share = |value: Option<f64>| value.map(|v| format!("{} %", percent(v)));
        cells.element("td", &[], format!("{} \u{2013} {} %", percent(bin.low), percent(bin.high)));
        cell(&mut cells, Some(thousands(bin.pairs)));
        cell(&mut cells, share(bin.confidence));
        cell(&mut cells, share(bin.accuracy));
        body.wrap("tr", &[], &cells);
    }
    let (mut plot, mut inside) = (Markup::new(), Markup::new());
    plot.append(&reliability(calibration));
    let table = scrolling("", &heading(&["Confidence", "Pairs", "Mean confidence", "Accuracy"]), &[body]);
    let pairs = calibration.bins.iter().map(|bin| bin.pairs).sum();
    few(&mut inside, pairs, "test pair", 0.5);
    let mut halves = Markup::new();
    halves.wrap("figure", &[], &plot).wrap("div", &[], &table);
    inside.wrap("div", &[("class", &"split")], &halves);
    let ece = calibration.ece.map(|ece| format!(" Expected calibration error: {ece:.3}.")).unwrap_or_default();
    let left_out = match calibration.left_out {
        0 => String::new(),
        n => format!(" {} pairs whose scores have no difference are left out.", thousands(n)),
    };
    let note = format!(
        "SER's model on the test pairs. Confidence is sigmoid of the distance of the two raw scores; on the dashed line it is the \
         probability of being right. Larger dots stand for more pairs.{ece}{left_out}"
    );
    section("Calibration", &note, &inside)
}

/// Accuracy on the named subsets of the test set.
pub(crate) fn subsets(report: &Report) -> Markup {
    if report.subsets.is_empty() {
        return Markup::new();
    }
    let ends = report.subsets.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), s| {
        (low.min(s.accuracy.low), high.max(s.accuracy.high))
    });
    let mut body = Markup::new();
    for subset in &report.subsets {
        let mut cells = Markup::new();
        let accuracy = subset.accuracy;
        cells.element("td", &[("class", &"wide")], &subset.subset);
        cell(&mut cells, Some(thousands(accuracy.pairs)));
        cell(&mut cells, Some(format!("{} %", percent(accuracy.value))));
        cell(&mut cells, Some(format!("{} \u{2013} {}", percent(accuracy.low), percent(accuracy.high))));
        cells.wrap("td", &[("class", &"plot")], &super::plots::interval(accuracy, ends, None, true));
        body.wrap("tr", &[], &cells);
    }
    let table = scrolling("", &heading(&["Subset", "Pairs", "Accuracy", "Interval", ""]), &[body]);
    section("By subset", "SER's model on the named parts of the test pairs.", &table)
}

/// Rows read, left out, and split.
pub(crate) fn data(report: &Report) -> Markup {
    let data = &report.data;
    let left_out: u64 = data.left_out.iter().map(|c| c.count).sum();
    let mut halves = Markup::new();
    let mut half = |title: &str, names: [&str; 2], counts: &[Count]| {
        let mut inside = Markup::new();
        inside.element("h3", &[], title).append(&tables::counts(names, counts));
        halves.wrap("div", &[], &inside);
    };
    if !data.splits.is_empty() {
        half("Parts", ["Part", "Pairs"], &data.splits);
    }
    if !data.left_out.is_empty() {
        half("Left out", ["Reason", "Rows"], &data.left_out);
    }
    let mut inside = Markup::new();
    inside.wrap("div", &[("class", &"split")], &halves);
    let from = if data.source.is_empty() { String::new() } else { format!(" from {}", data.source) };
    let note = match data.rows {
        0 if data.source.is_empty() && data.splits.is_empty() && data.left_out.is_empty() => return Markup::new(),
        // A program that makes pairs in memory reads no rows.
        0 => format!("Handed over by the program{from}: rows were not counted; {} left out.", thousands(left_out)),
        rows => format!("{} rows read{from}; {} left out.", thousands(rows), thousands(left_out)),
    };
    section("Data", &note, &inside)
}

/// All settings and seeds.
pub(crate) fn settings(report: &Report) -> Markup {
    let (table, lines) = tables::settings(report);
    let mut inside = Markup::new();
    inside.open("details", &[]).element("summary", &[], format!("All {lines} settings and seeds"));
    inside.append(&table).close("details");
    section("Settings", "", &inside)
}

/// Duration of the stages.
pub(crate) fn timing(report: &Report) -> Markup {
    let timing = &report.timing;
    let total: f64 = timing.total_seconds.unwrap_or_else(|| timing.stages.iter().map(|s| s.seconds).sum());
    if timing.stages.is_empty() && timing.total_seconds.is_none() {
        return Markup::new();
    }
    let mut body = Markup::new();
    for stage in &timing.stages {
        let mut cells = Markup::new();
        cells.element("td", &[("class", &"wide")], &stage.stage);
        cell(&mut cells, Some(duration(stage.seconds)));
        cell(&mut cells, (total > 0.0).then(|| whole_percent(stage.seconds / total)));
        body.wrap("tr", &[], &cells);
    }
    let mut inside = Markup::new();
    if !timing.stages.is_empty() {
        inside.open("details", &[]).element("summary", &[], "By stage");
        inside.append(&scrolling("", &heading(&["Stage", "Time", "Share"]), &[body])).close("details");
    }
    let started = timing.started.as_ref().map(|at| format!("Started {at}; ")).unwrap_or_default();
    section("Time", &format!("{started}{} in all.", duration(total)), &inside)
}

/// Formats seconds: `4.2 s`, `3 min 05 s`, `2 h 07 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

/// The library's version.
pub(crate) fn closing(report: &Report) -> Markup {
    let mut footer = Markup::new();
    let text = format!("ser {} \u{b7} report.json beside this page has the same numbers", report.library_version);
    footer.element("footer", &[], text);
    footer
}
