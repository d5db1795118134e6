//! What a job costs, as far as the dated price table says.

mod prices;

use chrono::NaiveDate;
use luma_agents::types::GenerationFailureCode;

pub use self::prices::{Price, Prices};
use crate::usd::Usd;

/// What something costs, before it is paid.
///
/// The API returns no charge, so this is never a bill: it is as good as the price table and its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Estimate {
    /// Between these two.
    Usd {
        /// At least this.
        low: Usd,
        /// At most this.
        high: Usd,
        /// The date of the price table.
        as_of: NaiveDate,
    },
    /// The table has no price for it. It is not free.
    Unknown,
}

impl Estimate {
    /// The most that it costs, if known.
    #[must_use]
    pub fn high(&self) -> Option<Usd> {
        match self {
            Self::Usd { high, .. } => Some(*high),
            Self::Unknown => None,
        }
    }

    /// The least that it costs: nothing is known of an unknown price.
    #[must_use]
    pub fn low(&self) -> Usd {
        match self {
            Self::Usd { low, .. } => *low,
            Self::Unknown => Usd::ZERO,
        }
    }
}

/// What many jobs cost together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Total {
    /// All jobs.
    pub jobs: u64,
    /// Those without a known price; they are in neither sum.
    pub unknown: u64,
    /// The least that the others cost.
    pub low: Usd,
    /// The most that the others cost.
    pub high: Usd,
}

impl Total {
    /// Adds a job.
    pub fn add(&mut self, estimate: &Estimate) {
        self.jobs += 1;
        match estimate {
            Estimate::Usd { low, high, .. } => {
                self.low = self.low.saturating_add(*low);
                self.high = self.high.saturating_add(*high);
            }
            Estimate::Unknown => self.unknown += 1,
        }
    }
}

/// Whether the service gives the price back when a job fails with this code: `content_moderated`,
/// `generation_failed` and `output_not_found`. All other codes count as paid.
#[must_use]
pub fn is_refunded(code: &GenerationFailureCode) -> bool {
    matches!(
        code,
        GenerationFailureCode::ContentModerated
            | GenerationFailureCode::GenerationFailed
            | GenerationFailureCode::OutputNotFound
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_codes_give_the_price_back_and_new_ones_do_not() {
        let refunded: Vec<_> = GenerationFailureCode::KNOWN.iter().filter(|it| is_refunded(it)).collect();
        let names: Vec<_> = refunded.iter().map(|it| it.as_str()).collect();
        assert_eq!(names, ["content_moderated", "generation_failed", "output_not_found"]);
        assert!(!is_refunded(&"new_code".into()));
    }

    #[test]
    fn an_unknown_price_is_counted_and_never_nothing() {
        let prices = Prices::default();
        let request = |json: &str| serde_json::from_str(json).unwrap();
        let mut total = Total::default();
        for json in [
            r#"{"prompt":"a"}"#,
            r#"{"prompt":"a","type":"layering","source":{"url":"https://example.com/a.png"}}"#,
            r#"{"prompt":"a","model":"uni-1-max"}"#,
        ] {
            total.add(&prices.estimate(&request(json), None));
        }
        let sum = "0.1404".parse().unwrap();
        assert_eq!(total, Total { jobs: 3, unknown: 1, low: sum, high: sum });
    }
}
