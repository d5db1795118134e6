//! Takes secrets out of text that we did not write: queries of URLs, keys, long bodies.

use std::borrow::Cow;

/// Longest excerpt of a foreign text in a message, in characters.
const EXCERPT: usize = 256;

/// What every key of the service begins with.
pub(crate) const KEY_PREFIX: &str = "luma-api-";

/// The URL without user, query and fragment.
pub(crate) fn url(url: &str) -> Cow<'_, str> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (shown, hidden) = url.split_at(end);
    let shown: Cow<'_, str> = match shown.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.find('/').unwrap_or(rest.len());
            match rest[..authority].rfind('@') {
                Some(at) => format!("{scheme}://…@{}", &rest[at + 1..]).into(),
                None => shown.into(),
            }
        }
        None => shown.into(),
    };
    if hidden.is_empty() { shown } else { format!("{shown}?…").into() }
}

/// One line of at most 256 characters of `text`, without keys and without queries of URLs.
pub(crate) fn excerpt(text: &str) -> String {
    // What lies past the excerpt is never shown; a secret on its edge is cut whole.
    let end = text.char_indices().nth(8 * EXCERPT).map_or(text.len(), |(at, _)| at);
    let mut line = String::new();
    for word in scrub(&text[..end]).split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => {
            line.truncate(end);
            line.push('…');
            line
        }
        None => line,
    }
}

/// Where a URL or a key ends inside other text.
fn ends_token(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// The whole of `text`, without keys and without queries of URLs.
pub(crate) fn scrub(text: &str) -> String {
    // JSON may write a slash as `\/`.
    let text = text.replace("\\/", "/");
    let mut rest = text.as_str();
    let mut clean = String::new();
    while let Some((at, secret)) = next_secret(rest) {
        clean.push_str(&rest[..at]);
        let token = token_at(rest, at);
        match secret {
            Secret::Key => clean.extend([KEY_PREFIX, "…"]),
            Secret::Url => clean.push_str(&url(token)),
            Secret::Query => clean.push_str("?…"),
        }
        rest = &rest[at + token.len()..];
    }
    clean.push_str(rest);
    clean
}

/// In the order in which they count where two begin at the same place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Secret {
    Key,
    Url,
    /// Of a URL without its host, or in a spelling that is not recognised.
    Query,
}

fn next_secret(text: &str) -> Option<(usize, Secret)> {
    let key = text.find(KEY_PREFIX).map(|at| (at, Secret::Key));
    let url = ["https://", "http://"].iter().filter_map(|scheme| text.find(scheme)).min().map(|at| (at, Secret::Url));
    let query = text.match_indices('?').find(|&(at, _)| token_at(text, at).contains('='));
    [key, url, query.map(|(at, _)| (at, Secret::Query))].into_iter().flatten().min()
}

/// From `at` to where a URL or a key ends inside other text.
fn token_at(text: &str, at: usize) -> &str {
    let token = &text[at..];
    &token[..token.find(ends_token).unwrap_or(token.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_loses_user_query_and_fragment() {
        for (whole, shown) in [
            ("https://h/p.png?X-Amz-Signature=s", "https://h/p.png?…"),
            ("https://h/p.png#s", "https://h/p.png?…"),
            ("https://user:pass@h/p", "https://…@h/p"),
            ("https://h?s", "https://h?…"),
            ("https://h/p", "https://h/p"),
            ("nonsense?s", "nonsense?…"),
        ] {
            assert_eq!(url(whole), shown);
        }
    }

    #[test]
    fn an_excerpt_is_one_short_line_without_secrets() {
        assert_eq!(excerpt("a\n\tb"), "a b");
        assert_eq!(
            excerpt(r#"{"url":"https://h/p?sig=1","key":"luma-api-abc"}"#),
            r#"{"url":"https://h/p?…","key":"luma-api-…"}"#
        );
        assert_eq!(excerpt(r#""https:\/\/h\/p?a=1\u0026sig=1" x"#), r#""https://h/p?…" x"#);
        assert_eq!(excerpt("x http://h/?sig=1 y https://h/?sig=2"), "x http://h/?… y https://h/?…");
        assert_eq!(excerpt(r#"{"url":"/p?sig=1"} HTTPS://h/p?sig=2"#), r#"{"url":"/p?…"} HTTPS://h/p?…"#);
        assert_eq!(excerpt("why? a=b"), "why? a=b");
        assert_eq!(excerpt(&"ä".repeat(1000)).chars().count(), EXCERPT + 1);
    }
}
