//! How long the service asks to wait: the one parser of `Retry-After`. Pure: no clock, no I/O.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header};

/// No delay is longer, so that no sum of delays can overflow.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the service asks to wait: `Retry-After-Ms`, else `Retry-After` in seconds (whole or
/// fractional) or as an HTTP date. What is past or negative is zero; what is none of these is nothing.
///
/// A date counts from the response's own `Date`, since the clock of this machine may be wrong; `now`
/// stands in where there is none.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let ms = text(headers, RETRY_AFTER_MS).and_then(|text| text.parse::<f64>().ok());
    if let Some(ms) = ms.and_then(|ms| seconds(ms / 1000.0)) {
        return Some(ms);
    }
    let asked = text(headers, header::RETRY_AFTER)?;
    if let Ok(number) = asked.parse::<f64>() {
        return seconds(number);
    }
    let now = date(headers).unwrap_or(now);
    let asked = httpdate::parse_http_date(asked).ok()?;
    Some(asked.duration_since(now).unwrap_or(Duration::ZERO).min(DAY))
}

/// The `Date` of a response: when it was made, by the clock of the service.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, header::DATE)?).ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

fn seconds(number: f64) -> Option<Duration> {
    (!number.is_nan()).then(|| Duration::from_secs_f64(number.clamp(0.0, DAY.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a header value")))
            .collect()
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("0", Some(0.0)),
            ("12", Some(12.0)),
            (" 1.5 ", Some(1.5)),
            ("-5", Some(0.0)),
            ("3600", Some(3600.0)),
            ("1e30", Some(86_400.0)),
            ("inf", Some(86_400.0)),
            ("NaN", None),
            ("abc", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10.0)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0.0)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10.0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400.0)),
        ] {
            let read = retry_after(&headers(&[("retry-after", value)]), now);
            assert_eq!(read, expected.map(Duration::from_secs_f64), "{value}");
        }
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let both = headers(&[("retry-after", "7"), ("retry-after-ms", "700")]);
        assert_eq!(retry_after(&both, SystemTime::UNIX_EPOCH), Some(Duration::from_millis(700)));
        let broken = headers(&[("retry-after", "7"), ("retry-after-ms", "soon")]);
        assert_eq!(retry_after(&broken, SystemTime::UNIX_EPOCH), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn a_date_counts_from_the_date_of_the_response() {
        let skewed = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 + 3600);
        let dated =
            headers(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]);
        assert_eq!(retry_after(&dated, skewed), Some(Duration::from_secs(10)));
        let broken = headers(&[("date", "yesterday"), ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]);
        assert_eq!(retry_after(&broken, skewed), Some(Duration::ZERO));
    }

    proptest::proptest! {
        #[test]
        fn a_retry_after_is_at_most_a_day(
            value in proptest::prop_oneof![
                proptest::collection::vec(proptest::num::u8::ANY, 0..40),
                "[-+]?[0-9.]{0,20}(e[-+]?[0-9]{0,4})?".prop_map(String::into_bytes),
                "(Mon|Sun), [0-9]{2} (Jan|Nov|Feb) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                for name in ["retry-after", "retry-after-ms"] {
                    let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.clone())]);
                    let read = retry_after(&headers, SystemTime::UNIX_EPOCH);
                    proptest::prop_assert!(read.is_none_or(|it| it <= DAY));
                }
            }
        }
    }
}
