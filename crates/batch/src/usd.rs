//! Money in integers.

use std::{fmt, iter::Sum, ops::Add, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// US dollars in ten-thousandths. Written as a decimal text of four places, `0.1030`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From ten-thousandths of a dollar: 1030 is $0.1030.
    #[must_use]
    pub const fn from_ten_thousandths(value: u64) -> Self {
        Self(value)
    }

    /// In ten-thousandths of a dollar.
    #[must_use]
    pub const fn ten_thousandths(self) -> u64 {
        self.0
    }

    /// The sum; the largest amount there is instead of an overflow.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; nothing instead of a negative amount.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// That many times this amount.
    #[must_use]
    pub const fn saturating_mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000))
    }
}

impl FromStr for Usd {
    type Err = Error;

    /// Takes `12`, `12.5`, `0.1030`: at most four places, no sign, no separators.
    fn from_str(text: &str) -> Result<Self> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let amount = (digits(whole) && digits(places) && places.len() <= 4).then(|| {
            let places: u64 = format!("{places:0<4}").parse().ok()?;
            whole.parse::<u64>().ok()?.checked_mul(10_000)?.checked_add(places)
        });
        amount.flatten().map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid_input(format!("{shown:?} is no amount of US dollars: write it like 12.50"))
        })
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_text_of_four_places_and_sums_exactly() {
        let price: Usd = "0.1030".parse().unwrap();
        assert_eq!(price, Usd::from_ten_thousandths(1030));
        assert_eq!(price.saturating_mul(5000).to_string(), "515.0000");
        assert_eq!(serde_json::to_string(&price).unwrap(), "\"0.1030\"");
        assert_eq!("3.5".parse::<Usd>().unwrap().to_string(), "3.5000");
        assert_eq!([price, price].into_iter().sum::<Usd>().ten_thousandths(), 2060);
        for bad in ["", ".5", "5.", "-1", "1,000", "0.10301", "1e3", "99999999999999999999"] {
            assert!(bad.parse::<Usd>().is_err(), "{bad}");
        }
    }
}
