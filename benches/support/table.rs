//! Tables in Markdown, so that a run can be pasted into `benches/README.md`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

/// The goal for a figure.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// A figure to compare with.
    None,
}

impl Goal {
    fn verdict(self, figure: f64) -> String {
        let (sign, goal, met) = match self {
            Self::AtMost(goal) => ("≤", goal, figure <= goal),
            Self::AtLeast(goal) => ("≥", goal, figure >= goal),
            Self::None => return String::new(),
        };
        let verdict = if figure.is_nan() {
            "not judged"
        } else if met {
            "met"
        } else {
            "**missed**"
        };
        format!("{sign} {goal} {verdict}")
    }
}

pub(crate) fn line(text: &str) {
    println!("{text}");
}

pub(crate) fn head(columns: &[&str]) {
    println!("\n| {} |", columns.join(" | "));
    println!("|{}", " --- |".repeat(columns.len()));
}

pub(crate) fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// A row that ends with its figure and whether the goal was met.
pub(crate) fn judged(cells: &[String], figure: f64, goal: Goal) {
    let cells = [cells, &[short(figure), goal.verdict(figure)]].concat();
    row(&cells);
}

/// About three significant digits.
pub(crate) fn short(figure: f64) -> String {
    match figure.abs() {
        it if it >= 100.0 => format!("{figure:.0}"),
        it if it >= 10.0 => format!("{figure:.1}"),
        it if it >= 0.1 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
