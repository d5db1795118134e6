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

/// The innermost cause of an error: the one that says something.
pub(crate) fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// The whole of `text`, without keys, queries of URLs and parameters that look like a signature.
pub(crate) fn scrub(text: &str) -> String {
    let text = plain(text);
    let mut rest = text.as_str();
    let mut clean = String::new();
    while let Some((at, secret)) = next_secret(rest) {
        clean.push_str(&rest[..at]);
        let token = token_at(rest, at);
        let mut length = token.len();
        match secret {
            Secret::Key => clean.extend([KEY_PREFIX, "…"]),
            Secret::Url => clean.push_str(&url(token)),
            Secret::Query => clean.push_str("?…"),
            Secret::Parameter => {
                length = token.find('&').unwrap_or(length);
                clean.push_str(&token[..=token.find('=').unwrap_or(0)]);
                clean.push('…');
            }
        }
        rest = &rest[at + length..];
    }
    clean.push_str(rest);
    clean
}

/// Spellings of the characters by which a URL and its parameters are recognised: escaped by JSON or
/// XML, or percent-encoded once or twice.
const ESCAPES: [(&str, &str); 19] = [
    ("\\/", "/"),
    ("\\u002f", "/"),
    ("\\u003a", ":"),
    ("\\u003d", "="),
    ("\\u003f", "?"),
    ("\\u0026", "&"),
    ("&amp;", "&"),
    ("&#38;", "&"),
    ("&#x26;", "&"),
    ("%252f", "/"),
    ("%253a", ":"),
    ("%253d", "="),
    ("%253f", "?"),
    ("%2526", "&"),
    ("%2f", "/"),
    ("%3a", ":"),
    ("%3d", "="),
    ("%3f", "?"),
    ("%26", "&"),
];

/// `text` with each of these characters as itself.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&', '%']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let escaped = |(spelling, _): &&(&str, &str)| {
            rest.get(..spelling.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(spelling))
        };
        let (length, meant) = match ESCAPES.iter().find(escaped) {
            Some((spelling, meant)) => (spelling.len(), *meant),
            None => (1, &rest[..1]),
        };
        plain.push_str(meant);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

/// By precedence: where two begin at the same place, the first of these counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Secret {
    Key,
    Url,
    /// Of a URL without its host, or with another scheme.
    Query,
    /// On its own, such as `X-Amz-Signature=..`.
    Parameter,
}

fn next_secret(text: &str) -> Option<(usize, Secret)> {
    let key = text.find(KEY_PREFIX).map(|at| (at, Secret::Key));
    let url = ["https://", "http://"].iter().filter_map(|scheme| text.find(scheme)).min().map(|at| (at, Secret::Url));
    let query = text.match_indices('?').find(|&(at, _)| token_at(text, at).contains('='));
    let parameter = text.match_indices('=').find_map(|(end, _)| {
        let name = text[..end].rfind(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let at = name.map_or(0, |before| before + text[before..].chars().next().map_or(1, char::len_utf8));
        is_secret_name(&text[at..end]).then_some((at, Secret::Parameter))
    });
    [key, url, query.map(|(at, _)| (at, Secret::Query)), parameter].into_iter().flatten().min()
}

/// Parameters that S3, Google Cloud Storage, Azure and `CloudFront` sign URLs with, and their like.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "sig" | "policy" | "key-pair-id")
        || ["signature", "credential", "token", "secret", "accesskey", "access-key", "access_key", "apikey", "api_key"]
            .iter()
            .any(|part| name.contains(part))
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
        for hidden in [
            "https%3A%2F%2Fh%2Fp%3FX-Amz-Signature%3Dhush",
            "X-Amz-Signature%3Dhush",
            "x-amz-security-token%253Dhush%2526a",
            r"https://h/p\u003fX-Amz-Signature\u003Dhush\u0026a=b",
            "X-Goog-Signature=hush&amp;b=c",
            "a, Signature=hush",
            "(sig=hush)",
            "ä=1;sig=hush",
        ] {
            let shown = excerpt(hidden);
            assert!(!shown.contains("hush") && shown.contains('…'), "{hidden}: {shown}");
        }
        assert_eq!(excerpt("100% & more \\ = fine"), "100% & more \\ = fine");
        assert_eq!(excerpt(&"ä".repeat(1000)).chars().count(), EXCERPT + 1);
    }
}
