//! Signed URLs of the storage. They are recognised by their signature; no list of them is kept.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use http::{Method, request::Parts};

use super::clock::Clock;

/// Why a URL is not good.
pub(super) enum Invalid {
    Signature,
    Expired,
}

pub(super) struct Signer {
    /// Of the storage.
    origin: String,
    secret: RandomState,
    clock: Clock,
    pub(super) lifetime: Duration,
    /// How many URLs there are so far, and how many of them were made to expire.
    signed: u64,
    expired: u64,
}

impl Signer {
    pub(super) fn new(origin: String, clock: Clock) -> Self {
        let lifetime = Duration::from_secs(3600);
        Self { origin, secret: RandomState::new(), clock, lifetime, signed: 0, expired: 0 }
    }

    /// A URL for one method on one object. No two are equal.
    pub(super) fn sign(&mut self, method: &Method, key: &str) -> String {
        self.signed += 1;
        let credential = format!("{}-{}", self.signed, self.clock.now().saturating_add(self.lifetime).as_millis());
        let signature = self.signature(method, key, &credential);
        format!(
            "{}/{key}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Expires={}\
             &X-Amz-Signature={signature}",
            self.origin,
            self.clock.seconds_for_caller(self.lifetime),
        )
    }

    pub(super) fn expire_all(&mut self) {
        self.expired = self.signed;
    }

    fn signature(&self, method: &Method, key: &str, credential: &str) -> String {
        format!("{:016x}", self.secret.hash_one((method.as_str(), key, credential)))
    }

    /// Whether the URL was signed for this method and object, and is still good.
    pub(super) fn verify(&self, head: &Parts, key: &str) -> Result<(), Invalid> {
        let parameter = |name: &str| {
            let mut parameters = head.uri.query().unwrap_or_default().split('&');
            parameters.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
        };
        let credential = parameter("X-Amz-Credential").unwrap_or_default();
        if parameter("X-Amz-Signature") != Some(&self.signature(&head.method, key, credential)) {
            return Err(Invalid::Signature);
        }
        let (number, deadline) = credential.split_once('-').unwrap_or_default();
        let good = number.parse::<u64>().is_ok_and(|it| it > self.expired)
            && deadline.parse::<u128>().is_ok_and(|it| it > self.clock.now().as_millis());
        if good { Ok(()) } else { Err(Invalid::Expired) }
    }
}
