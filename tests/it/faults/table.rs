//! The matrix as a table in Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Cell, case::Name};

/// The table lines of one fault. Operations with the same outcome share a line.
pub(super) fn lines(cells: &[Cell]) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for cell in cells {
        let rest = format!("{} | {} | {}", cell.requests, cell.jobs, cell.outcome);
        match groups.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, operations)) => operations.push(cell.operation.name()),
            None => groups.push((rest, vec![cell.operation.name()])),
        }
    }
    groups.into_iter().map(|(rest, operations)| format!("{} | {rest}", operations.join(", "))).collect()
}

/// Formats `[400, 405, 406, 407]` as `400, 405 to 407`.
pub(super) fn ranges(statuses: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &status in statuses {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == status => *last = status,
            _ => ranges.push((status, status)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first} to {last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

pub(super) fn table(mut cells: Vec<Cell>) -> String {
    let mut faults: Vec<(String, Vec<String>)> = Vec::new();
    let mut families: BTreeMap<(&str, Vec<String>), Vec<u16>> = BTreeMap::new();
    while let Some(first) = cells.first() {
        let name = first.name.clone();
        let (mut of_fault, others): (Vec<_>, Vec<_>) = cells.into_iter().partition(|it| it.name == name);
        of_fault.sort_by_key(|it| it.operation);
        cells = others;
        match name {
            Name::Text(text) => faults.push((text.to_owned(), lines(&of_fault))),
            Name::Status(family, status) => families.entry((family, lines(&of_fault))).or_default().push(status),
        }
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by_key(|(_, statuses)| statuses[0]);
    faults.extend(
        families.into_iter().map(|((family, lines), statuses)| (format!("{} {family}", ranges(&statuses)), lines)),
    );

    let mut text = "| Fault | Operations | Requests | Jobs | Outcome |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (fault, lines) in faults {
        for (at, line) in lines.into_iter().enumerate() {
            let fault = if at == 0 { fault.as_str() } else { "" };
            writeln!(text, "| {fault} | {line} |").unwrap();
        }
    }
    text
}
