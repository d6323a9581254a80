//! Alignment of text tables.

/// A line with the first column left-aligned and the others right-aligned; columns without a width are left out.
pub(super) fn aligned(line: &[String], widths: &[Option<usize>]) -> String {
    let columns = line.iter().zip(widths).enumerate();
    let cells = columns.filter_map(|(column, (cell, width))| {
        let width = (*width)?;
        Some(if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
    });
    let line = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}
