//! The cap on what a batch may cost.

use super::Estimate;
use crate::{error::CapReached, usd::Usd};

/// The most that a batch may cost, over all its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cap {
    /// The most US dollars. With it, a job of unknown price is an error.
    pub usd: Option<Usd>,
    /// The most jobs, counted by the tries that may exist.
    pub jobs: Option<u64>,
}

impl Cap {
    /// Whether the next job may be submitted.
    ///
    /// `spent` is the most that the jobs so far can have cost: accepted, in flight and in doubt, less what was
    /// refunded. `tries` are those that may exist at the service.
    ///
    /// # Errors
    ///
    /// [`CapReached`] if a cap would be passed, or if the price is not known and there is a cap on it.
    pub fn check(&self, spent: Usd, tries: u64, next: &Estimate) -> Result<(), CapReached> {
        if let Some(cap) = self.usd {
            let price = next.high();
            if price.is_none_or(|price| spent.saturating_add(price) > cap) {
                return Err(CapReached::Usd { cap, spent, price });
            }
        }
        match self.jobs {
            Some(cap) if tries >= cap => Err(CapReached::Jobs { cap }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn price(text: &str) -> Estimate {
        Estimate::Usd { low: Usd::ZERO, high: usd(text), as_of: chrono::NaiveDate::default() }
    }

    #[test]
    fn the_last_job_that_fits_exactly_goes() {
        let cap = Cap { usd: Some(usd("1")), jobs: None };
        assert_eq!(cap.check(usd("0.9"), 9, &price("0.1")), Ok(()));
        let reached = CapReached::Usd { cap: usd("1"), spent: usd("0.9001"), price: Some(usd("0.1")) };
        assert_eq!(cap.check(usd("0.9001"), 9, &price("0.1")), Err(reached));
    }

    #[test]
    fn jobs_are_counted_by_the_tries_that_may_exist() {
        let cap = Cap { usd: None, jobs: Some(3) };
        assert_eq!(cap.check(Usd::ZERO, 2, &Estimate::Unknown), Ok(()));
        assert_eq!(cap.check(Usd::ZERO, 3, &Estimate::Unknown), Err(CapReached::Jobs { cap: 3 }));
    }

    #[test]
    fn an_unknown_price_never_passes_a_cap_on_dollars() {
        let cap = Cap { usd: Some(usd("1000000")), jobs: None };
        assert!(matches!(cap.check(Usd::ZERO, 0, &Estimate::Unknown), Err(CapReached::Usd { price: None, .. })));
        assert_eq!(Cap::default().check(Usd::ZERO, 0, &Estimate::Unknown), Ok(()));
    }

    #[test]
    fn amounts_that_overflow_do_not_pass() {
        let cap = Cap { usd: Some(usd("1")), jobs: None };
        assert!(cap.check(Usd::from_ten_thousandths(u64::MAX), 0, &price("0.1")).is_err());
    }
}
