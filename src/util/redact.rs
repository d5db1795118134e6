//! Takes secrets out of text that we did not write: queries of URLs, keys, long bodies.

use std::borrow::Cow;

/// Longest excerpt of a foreign text in a message, in characters.
const EXCERPT: usize = 256;

/// A shorter value of a query is a number, a date or a name.
const SHORTEST_SECRET: usize = 8;

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

/// One line of at most 256 characters of `text`, without keys, without queries of URLs, and without what steers a
/// terminal.
pub(crate) fn excerpt(text: &str) -> String {
    // What lies past the excerpt is never shown; a secret on its edge is cut whole.
    let end = text.char_indices().nth(8 * EXCERPT).map_or(text.len(), |(at, _)| at);
    let mut line = String::new();
    for word in scrub(&text[..end]).split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().map(|c| if is_steering(c) { char::REPLACEMENT_CHARACTER } else { c }));
    }
    short(&line).into_owned()
}

/// Whether a terminal acts on a character instead of showing it, or shows others in another order.
pub(crate) fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first 256 characters.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// A URL that the caller or a server gave, short and without its secrets, for a message.
pub(crate) fn quoted_url(text: &str) -> String {
    excerpt(&url(text))
}

/// `text` without the values in the query of a signed URL, however a server spells them.
pub(crate) fn hide_query(url: &reqwest::Url, text: &str) -> String {
    let raw =
        url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).map(|(_, it)| it.into());
    hide(raw.chain(url.query_pairs().map(|(_, value)| value)), text)
}

/// `text` without these values. Those as short as that of `X-Amz-Expires` are no secret.
pub(crate) fn hide<'a>(values: impl Iterator<Item = Cow<'a, str>>, text: &str) -> String {
    let mut values: Vec<_> = values.map(|value| plain(&value)).filter(|it| it.len() >= SHORTEST_SECRET).collect();
    // A value may begin with another one.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.iter().fold(plain(text), |text, value| text.replace(value, "…"))
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
    let mut clean = String::new();
    let mut from = 0;
    // Each kind is searched from where it was found last: a server may send a million of them.
    let mut next = Secret::ALL.map(|secret| secret.find(&text));
    while let Some((at, secret)) = next.iter().zip(Secret::ALL).filter_map(|(at, secret)| Some(((*at)?, secret))).min()
    {
        clean.push_str(&text[from..at]);
        let rest = &text[at..];
        let token = &rest[..rest.find(|c| ends_token(c) || secret == Secret::Value && c == '&').unwrap_or(rest.len())];
        match secret {
            Secret::Key => clean.extend([KEY_PREFIX, "…"]),
            Secret::Url => clean.push_str(&url(token)),
            Secret::Query => clean.push_str("?…"),
            Secret::Value => clean.push('…'),
        }
        from = at + token.len();
        for (at, secret) in next.iter_mut().zip(Secret::ALL) {
            if at.is_some_and(|at| at < from) {
                *at = secret.find(&text[from..]).map(|at| from + at);
            }
        }
    }
    clean.push_str(&text[from..]);
    clean
}

/// The characters by which URLs, parameters and their values are recognised. None of them ends a token.
const MEANT: &str = "/:=?&+%-_.~";

/// How often a text may be escaped: once by each of the programs that it passed through.
const ROUNDS: usize = 4;

/// `text` with each of these characters as itself: not escaped by JSON or XML, nor percent-encoded.
fn plain(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    for _ in 0..ROUNDS {
        match unescaped(&text) {
            Some(plain) => text = Cow::Owned(plain),
            None => break,
        }
    }
    text.into_owned()
}

fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&', '%']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (meant, length) = escape(rest).unwrap_or((char::from(rest.as_bytes()[0]), 1));
        plain.push(meant);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    (plain.len() < text.len()).then_some(plain)
}

/// The character that an escape at the beginning of `text` means, and the length of the escape.
fn escape(text: &str) -> Option<(char, usize)> {
    let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let (meant, length) = if text.starts_with("\\/") {
        ('/', 2)
    } else if text.starts_with("\\u") {
        (code(text.get(2..6)?, 16)?, 6)
    } else if text.starts_with('%') {
        (code(text.get(1..3)?, 16)?, 3)
    } else {
        let entity = text.strip_prefix('&')?;
        let entity = &entity[..entity.char_indices().take(6).find(|(_, c)| *c == ';')?.0];
        let meant = match entity.strip_prefix('#') {
            Some(number) => number.strip_prefix(['x', 'X']).map_or_else(|| code(number, 10), |it| code(it, 16))?,
            None if entity == "amp" => '&',
            None => return None,
        };
        (meant, entity.len() + 2)
    };
    MEANT.contains(meant).then_some((meant, length))
}

/// By precedence: where two begin at the same place, the first of these counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Secret {
    Key,
    Url,
    /// Of a URL without its host, or with another scheme.
    Query,
    /// Of a parameter or header on its own, such as `X-Amz-Signature=..` or `"x-amz-security-token": ".."`.
    Value,
}

impl Secret {
    const ALL: [Self; 4] = [Self::Key, Self::Url, Self::Query, Self::Value];

    /// Where the first one begins.
    fn find(self, text: &str) -> Option<usize> {
        match self {
            Self::Key => text.find(KEY_PREFIX),
            Self::Url => {
                let is_url = |at: usize| ["http://", "https://"].iter().any(|it| text[at..].starts_with(it));
                text.match_indices("http").map(|(at, _)| at).find(|at| is_url(*at))
            }
            Self::Query => {
                let mut start = 0;
                text.split_inclusive(ends_token).find_map(|token| {
                    let at = token.find('?').filter(|at| token[*at..].contains('=')).map(|at| start + at);
                    start += token.len();
                    at
                })
            }
            Self::Value => text.match_indices(['=', ':', '>']).find_map(|(end, separator)| {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                let before = text[..end].trim_end_matches(is_quote);
                let name = &before[before.trim_end_matches(is_name).len()..];
                let at = end + 1 + text[end + 1..].find(|c: char| !is_quote(c))?;
                let is_secret = if separator == "=" { is_secret_name(name) } else { is_secret_header(name) };
                (is_secret && !text[at..].starts_with(|c| c == '…' || ends_token(c))).then_some(at)
            }),
        }
    }
}

/// What may stand between a name, its separator and the value.
fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\' | ' ')
}

/// Parameters that S3, Google Cloud Storage, Azure and `CloudFront` sign URLs with, and their like.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "sig" | "policy" | "key-pair-id")
        || ["signature", "credential", "token", "secret", "accesskey", "access-key", "access_key", "apikey", "api_key"]
            .iter()
            .any(|part| name.contains(part))
}

/// The same as headers or elements, where a word such as `token` may begin a sentence.
fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('-') && is_secret_name(&name) || matches!(name.as_str(), "awsaccesskeyid" | "signatureprovided")
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
    fn no_value_of_a_query_is_shown() {
        let url = "https://h/p?X-Amz-Expires=3600&X-Amz-Signature=hush1234&X-Amz-Security-Token=hush%2F56%2B78%3D%3D";
        let url = reqwest::Url::parse(url).expect("a URL");
        for text in [
            "the signature hush1234 does not match after 3600 s",
            "hush/56+78== has expired after 3600 s",
            "hush%2F56%2B78%3D%3D has expired after 3600 s",
            "hush%2f56%2B78%3d%3d has expired after 3600 s",
            r"hush\/56+78\u003d= has expired after 3600 s",
        ] {
            let shown = hide_query(&url, text);
            assert!(!shown.contains("hush") && shown.contains("3600"), "{text}: {shown}");
        }
    }

    #[test]
    fn a_text_with_many_secrets_takes_no_longer_than_another_one() {
        // With time that grows with the square of the length, one of these takes hours.
        for part in ["?", "?a=b ", "?a=b", "sig=a ", "sig=a&", "=:>", "a: \"", "https://h/?a ", "luma-api- ", "&amp;"] {
            let shown = scrub(&part.repeat(30_000));
            assert!(!shown.is_empty(), "{part}");
        }
    }

    #[test]
    fn an_excerpt_is_one_short_line_without_secrets() {
        assert_eq!(excerpt("a\n\tb"), "a b");
        assert_eq!(
            excerpt("a\u{1b}[2Jb \u{202e}c\u{7f}"),
            "a\u{fffd}[2Jb \u{fffd}c\u{fffd}",
            "nothing that steers a terminal"
        );
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
            "x-amz-security-token: hush",
            r#"{"X-Amz-Signature": "hush"}"#,
            r#"{\"x-goog-signature\":\"hush\"}"#,
            "<X-Amz-Security-Token>hush</X-Amz-Security-Token>",
            "X-Amz-Signature&#61;hush",
            "X-Amz-Signature%25253Dhush",
            "X-Amz-Signature = \"hush\"",
            "sig='hush'",
        ] {
            let shown = excerpt(hidden);
            assert!(!shown.contains("hush") && shown.contains('…'), "{hidden}: {shown}");
        }
        assert_eq!(excerpt("https://h/p?a=1&amp;sig=hush"), "https://h/p?…");
        assert_eq!(escape("&amp;sig"), Some(('&', 5)));
        assert_eq!((escape("&#61;"), escape("&#x3d;"), escape("&lt;")), (Some(('=', 5)), Some(('=', 6)), None));
        for shown in ["100% & more \\ = fine", "invalid token: a comma", "a > b: c", "x-amz-request-id: 7", "a token=…"]
        {
            assert_eq!(excerpt(shown), shown);
        }
        assert_eq!(excerpt(&"ä".repeat(1000)).chars().count(), EXCERPT + 1);
    }
}
