//! Which URLs may be talked to: `https`, and `http` on this machine only.

use std::net::IpAddr;

use reqwest::Url;

use crate::{
    error::{Error, Result},
    util::redact,
};

/// The URL of the API, if the key may be sent there.
pub(crate) fn base_url(text: &str) -> Result<Url> {
    let text = text.trim();
    let reject = |why: &str| Err(Error::invalid_input(format!("the base URL `{}` {why}", redact::quoted_url(text))));
    let url = match allowed(text) {
        Ok(url) => url,
        Err(why) => return reject(why),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return reject("has a user or password in it");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return reject("has a query or fragment");
    }
    Ok(url)
}

/// A signed URL of storage. It comes from the service and may be anything.
pub(crate) fn signed_url(text: &str) -> Result<Url> {
    allowed(text).map_err(|why| Error::invalid_input(format!("`{}` {why}", redact::quoted_url(text))))
}

/// Where a redirect leads. `https` may lead to `https` only, and `http` on this machine to both.
pub(crate) fn redirect(from: &Url, location: &str) -> Option<Url> {
    let to = from.join(location).ok()?;
    (to.scheme() == "https" || (is_loopback(from) && check(&to).is_ok())).then_some(to)
}

/// Whether the URL leads to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn allowed(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not an absolute URL, such as https://host/path")?;
    check(&url).map(|()| url)
}

/// The one rule.
fn check(url: &Url) -> Result<(), &'static str> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("is not https, so that others could read the key: use https"),
        _ => Err("is neither https nor http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_goes_to_https_or_this_machine_only() {
        for (url, expected) in [
            ("https://agents.lumalabs.ai/v1/", Ok("https://agents.lumalabs.ai/v1/")),
            (" https://proxy.example.com ", Ok("https://proxy.example.com/")),
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080/")),
            ("http://[::1]:80/v1", Ok("http://[::1]/v1")),
            ("http://localhost/v1", Ok("http://localhost/v1")),
            ("http://agents.lumalabs.ai/v1", Err("not https")),
            ("http://127.0.0.1.example.com", Err("not https")),
            ("http://10.0.0.1", Err("not https")),
            ("ftp://agents.lumalabs.ai", Err("neither")),
            ("agents.lumalabs.ai/v1", Err("absolute")),
            ("", Err("absolute")),
            ("https://user:secret@agents.lumalabs.ai", Err("user or password")),
            ("https://agents.lumalabs.ai?key=secret", Err("query")),
        ] {
            match (base_url(url), expected) {
                (Ok(checked), Ok(expected)) => assert_eq!(checked.as_str(), expected),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.contains(part) && !error.contains("secret"), "{url}: {error}");
                }
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_redirect_never_leaves_https_and_never_enters_this_machine() {
        for (from, location, expected) in [
            ("https://a/x", "/y", Some("https://a/y")),
            ("https://a/x", "https://b/y", Some("https://b/y")),
            ("https://a/x", "http://b/y", None),
            ("https://a/x", "http://127.0.0.1/y", None),
            ("http://127.0.0.1/x", "/y", Some("http://127.0.0.1/y")),
            ("http://127.0.0.1/x", "http://b/y", None),
            ("https://a/x", "ftp://a/y", None),
        ] {
            let from = Url::parse(from).expect("a URL");
            assert_eq!(redirect(&from, location).as_ref().map(Url::as_str), expected, "{from} {location}");
        }
    }
}
