//! Text that somebody else wrote, such as the service, on its way to a terminal.

use std::fmt::Display;

/// The longest state, name or code that is shown whole, in characters.
const LONGEST: usize = 256;

/// The text on one line, without what steers a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace(is_steering, "\u{fffd}")
}

/// A state, name or code of the service: on one line, and short.
pub(crate) fn word(text: impl Display) -> String {
    let line = one_line(&text.to_string());
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Whether a terminal acts on a character instead of showing it, or shows others in another order.
pub(crate) fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_short_and_stays_on_its_line() {
        assert_eq!(word("a\u{1b}[2J\t\u{2066}b\r\n"), "a\u{fffd}[2J \u{fffd}b");
        assert_eq!(word("ä".repeat(LONGEST)), "ä".repeat(LONGEST));
        assert_eq!(word("ä".repeat(1 << 20)), format!("{}…", "ä".repeat(LONGEST)));
    }
}
