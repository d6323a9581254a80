//! The report's tables.

use serde_json::Value;

use super::markup::Markup;
use super::plots::interval;
use crate::report::{BaselineKind, Count, Report, Row, percent, points, rows, thousands, whole_percent};

/// The head of a table from its column names.
pub(crate) fn heading(names: &[&str]) -> Markup {
    let mut row = Markup::new();
    for name in names {
        // Text is left-aligned, numbers are right-aligned.
        let class = if matches!(*name, "Rule" | "Value" | "Judge") { "wide" } else { "" };
        row.element("th", &[("scope", &"col"), ("class", &class)], name);
    }
    let mut head = Markup::new();
    let mut line = Markup::new();
    line.wrap("tr", &[], &row);
    head.wrap("thead", &[], &line);
    head
}

/// A cell with a number, or with a dash.
pub(crate) fn cell(row: &mut Markup, text: Option<String>) {
    match text {
        Some(text) => row.element("td", &[], text),
        None => row.element("td", &[("class", &"missing")], "\u{2013}"),
    };
}

/// A table that scrolls by itself if the page is too narrow.
pub(crate) fn scrolling(class: &str, head: &Markup, bodies: &[Markup]) -> Markup {
    let mut inside = Markup::new();
    inside.append(head);
    for body in bodies.iter().filter(|body| !body.is_empty()) {
        inside.wrap("tbody", &[], body);
    }
    let mut table = Markup::new();
    table.wrap("table", &[("class", &class)], &inside);
    let mut scroll = Markup::new();
    scroll.wrap("div", &[("class", &"scroll")], &table);
    scroll
}

/// Loop 0, the later iterations, SER and the baselines.
pub(crate) fn headline(report: &Report) -> Markup {
    let rows = rows(report);
    let ends = rows.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), row| {
        (low.min(row.accuracy.low), high.max(row.accuracy.high))
    });
    let loop0 = rows.first().map(|row| row.accuracy.value);
    let body = |compared: bool| {
        let mut body = Markup::new();
        for row in rows.iter().filter(|row| row.compared == compared) {
            let class = if row.kind == Some(BaselineKind::Ser) { "result" } else { "" };
            body.wrap("tr", &[("class", &class)], &headline_row(row, ends, loop0));
        }
        body
    };
    let names = [
        "Model",
        "Accuracy",
        "Interval",
        "",
        "vs Loop\u{a0}0",
        "Gap closed",
        "Pairs kept",
        "Label precision",
        "Trained on",
        "Human labels",
    ];
    scrolling("headline", &heading(&names), &[body(false), body(true)])
}

fn headline_row(row: &Row<'_>, ends: (f64, f64), loop0: Option<f64>) -> Markup {
    let mut cells = Markup::new();
    cells.open("th", &[("scope", &"row")]).text(row.name);
    if row.chosen {
        cells.element("span", &[("class", &"pill")], "chosen");
    }
    cells.close("th");
    let accuracy = row.accuracy;
    let strong = row.chosen || row.kind == Some(BaselineKind::Ser);
    cells.element("td", &[], format!("{} %", percent(accuracy.value)));
    cells.element("td", &[], format!("{} \u{2013} {}", percent(accuracy.low), percent(accuracy.high)));
    cells.wrap("td", &[("class", &"plot")], &interval(accuracy, ends, loop0, strong));
    cell(&mut cells, row.gain.map(points));
    cell(&mut cells, row.gap_closed.map(whole_percent));
    cell(&mut cells, row.kept.map(thousands));
    cell(&mut cells, row.precision.map(|p| format!("{} %", percent(p))));
    cell(&mut cells, Some(thousands(row.trained_on)));
    cell(&mut cells, row.human_labels.map(thousands));
    cells
}

/// Details of the iterations that the headline table leaves out.
pub(crate) fn loops(report: &Report) -> Markup {
    let mut body = Markup::new();
    for iteration in &report.iterations {
        let mut cells = Markup::new();
        cells.element("th", &[("scope", &"row")], &iteration.name);
        let selection = iteration.selection.as_ref();
        let share = |value: Option<f64>| value.map(|v| format!("{} %", percent(v)));
        cell(&mut cells, iteration.status.map(|s| super::plots::status_name(s).to_owned()));
        cell(&mut cells, share(iteration.validation_accuracy));
        cell(&mut cells, iteration.evaluation.ece.map(|ece| format!("{ece:.3}")));
        cell(&mut cells, selection.map(|s| thousands(s.pool)));
        cell(&mut cells, selection.map(|s| thousands(s.kept)));
        cell(&mut cells, share(selection.map(|s| s.coverage)));
        let precision = selection.and_then(|s| s.precision);
        cell(
            &mut cells,
            precision.map(|p| format!("{} % ({} \u{2013} {})", percent(p.value), percent(p.low), percent(p.high))),
        );
        cell(&mut cells, share(selection.and_then(|s| s.flip_rate)));
        cell(&mut cells, iteration.fit.map(|fit| format!("{:.4}", fit.loss)));
        cells.element("td", &[("class", &"wide")], iteration.rule.as_deref().unwrap_or(""));
        body.wrap("tr", &[], &cells);
    }
    let names = [
        "Loop",
        "Status",
        "Validation",
        "ECE",
        "Pool",
        "Kept",
        "Coverage",
        "Label precision",
        "Flip rate",
        "Loss",
        "Rule",
    ];
    scrolling("", &heading(&names), &[body])
}

/// Numbers by name.
pub(crate) fn counts(names: [&str; 2], counts: &[Count]) -> Markup {
    let mut body = Markup::new();
    for Count { name, count } in counts {
        let mut cells = Markup::new();
        cells.element("td", &[("class", &"wide")], name).element("td", &[], thousands(*count));
        body.wrap("tr", &[], &cells);
    }
    scrolling("", &heading(&names), &[body])
}

/// Settings and seeds, one line per value, nested names joined with points.
pub(crate) fn settings(report: &Report) -> (Markup, usize) {
    let mut lines = Vec::new();
    flatten(&report.settings, String::new(), &mut lines);
    lines.sort();
    lines.extend(report.seeds.iter().map(|(name, seed)| (format!("seed: {name}"), seed.to_string())));
    let mut body = Markup::new();
    for (name, value) in &lines {
        let (mut cells, mut name_cell, mut value_cell) = (Markup::new(), Markup::new(), Markup::new());
        name_cell.element("code", &[], name);
        value_cell.element("code", &[], value);
        cells.wrap("td", &[], &name_cell).wrap("td", &[("class", &"wide")], &value_cell);
        body.wrap("tr", &[], &cells);
    }
    (scrolling("", &heading(&["Setting", "Value"]), &[body]), lines.len())
}

fn flatten(value: &Value, name: String, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, inner) in fields {
                let inner_name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(inner, inner_name, lines);
            }
        }
        Value::String(text) => lines.push((name, text.clone())),
        Value::Null if name.is_empty() => {}
        other => lines.push((name, other.to_string())),
    }
}
