//! `report.html`: one self-contained file without scripts; it fetches nothing.

mod chart;
mod curves;
mod markup;
mod plots;
mod policy;
mod sections;
mod similar;
mod tables;

use crate::Report;
use markup::Markup;

impl Report {
    /// The report as a self-contained page: it follows the reader's light or dark mode and fits a phone. All text of
    /// the report is escaped.
    pub fn to_html(&self) -> String {
        let mut main = Markup::new();
        main.append(&sections::opening(self));
        // One line per section; a section without data gives nothing.
        let sections = [
            sections::warnings,
            sections::comparison,
            sections::loops,
            policy::comparisons,
            policy::training,
            policy::samples,
            sections::deltas,
            similar::similar_pairs,
            sections::calibration,
            sections::subsets,
            sections::data,
            sections::settings,
            sections::timing,
        ];
        for section in sections {
            main.append(&section(self));
        }
        main.append(&sections::closing(self));

        let mut head = Markup::new();
        head.open("meta", &[("charset", &"utf-8")]);
        head.open("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
        head.element("title", &[], &self.title);
        head.open("style", &[]).verbatim(include_str!("style.css")).close("style");
        let mut body = Markup::new();
        body.wrap("main", &[], &main);
        let mut page = Markup::new();
        page.verbatim("<!DOCTYPE html>\n").open("html", &[("lang", &"en")]);
        page.wrap("head", &[], &head).wrap("body", &[], &body).close("html");
        page.into_string()
    }
}
