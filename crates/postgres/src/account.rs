//! Accounts: whose limits a fleet shares.

use luma_agents_batch::{Error, Result};

use crate::{database::Database, error::database_error};

/// An account of the service, as the fleet knows it: a label, the service, and its two limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// The label. The key itself is stored nowhere.
    pub name: String,
    /// Where its requests go: [`Client::base_url`](luma_agents::Client::base_url).
    pub base_url: String,
    /// Units in 60 seconds. Default 30.
    pub per_minute: u32,
    /// Units at the same time. Default 10.
    pub concurrency: u32,
}

impl Account {
    /// An account with the limits that accounts have had so far.
    #[must_use]
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self { name: name.into(), base_url: base_url.into(), per_minute: 30, concurrency: 10 }
    }

    /// Units in 60 seconds.
    #[must_use]
    pub fn per_minute(self, units: u32) -> Self {
        Self { per_minute: units, ..self }
    }

    /// Units at the same time.
    #[must_use]
    pub fn concurrency(self, units: u32) -> Self {
        Self { concurrency: units, ..self }
    }
}

impl Database {
    /// Adds an account, unless there is one of this label, which keeps its limits.
    ///
    /// # Errors
    ///
    /// As [`set_account`](Self::set_account).
    pub async fn add_account(&self, account: &Account) -> Result<()> {
        let known: Option<String> = sqlx::query_scalar("SELECT base_url FROM luma.accounts WHERE account = $1")
            .bind(&account.name)
            .fetch_optional(&self.pool)
            .await
            .map_err(database_error)?;
        match known {
            None => self.set_account(account).await,
            Some(base_url) if base_url == account.base_url => Ok(()),
            Some(_) => Err(other_service(&account.name, &account.base_url)),
        }
    }

    /// Adds an account, or changes the limits of one. Its base URL stays.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for limits below 1, or another base URL than the account's.
    pub async fn set_account(&self, account: &Account) -> Result<()> {
        let limit = |units: u32| {
            i32::try_from(units)
                .ok()
                .filter(|units| *units > 0)
                .ok_or_else(|| Error::InvalidInput(format!("{units} units is no limit: take 1 to {}", i32::MAX)))
        };
        let (per_minute, concurrency) = (limit(account.per_minute)?, limit(account.concurrency)?);
        let base_url: String = sqlx::query_scalar(
            "INSERT INTO luma.accounts (account, base_url, per_minute, concurrency, capacity, granted) \
             VALUES ($1, $2, $3, $4, $4, $4) \
             ON CONFLICT (account) DO UPDATE \
             SET per_minute = excluded.per_minute, concurrency = excluded.concurrency, capacity = excluded.concurrency \
             WHERE accounts.base_url = excluded.base_url \
             RETURNING base_url",
        )
        .bind(&account.name)
        .bind(&account.base_url)
        .bind(per_minute)
        .bind(concurrency)
        .fetch_optional(&self.pool)
        .await
        .map_err(database_error)?
        .ok_or_else(|| other_service(&account.name, &account.base_url))?;
        debug_assert_eq!(base_url, account.base_url);
        Ok(())
    }
}

pub(crate) fn other_service(account: &str, base_url: &str) -> Error {
    Error::InvalidInput(format!(
        "the account {account} is of another service than {base_url}; check the base URL, or take another label"
    ))
}
