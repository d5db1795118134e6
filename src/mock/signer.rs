//! Signed URLs of the storage. They are recognised by their signature; no list of them is kept.

use std::{
    fmt::Write as _,
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
        let mut url = String::new();
        self.sign_into(&mut url, method, key);
        url
    }

    /// The same at the end of a text.
    pub(super) fn sign_into(&mut self, text: &mut String, method: &Method, key: &str) {
        self.signed += 1;
        let (number, deadline) = (self.signed, millis(self.clock.now().saturating_add(self.lifetime)));
        text.extend([&self.origin, "/", key, "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="]);
        let credential = text.len();
        // A `String` takes all that is written.
        write!(text, "{number}-{deadline}").ok();
        let signature = self.signature(method, key, &text[credential..]);
        let expires = self.clock.seconds_for_caller(self.lifetime);
        write!(text, "&X-Amz-Expires={expires}&X-Amz-Signature={signature:016x}").ok();
    }

    pub(super) fn expire_all(&mut self) {
        self.expired = self.signed;
    }

    fn signature(&self, method: &Method, key: &str, credential: &str) -> u64 {
        self.secret.hash_one((method.as_str(), key, credential))
    }

    /// Whether the URL was signed for this method and object, and is still good.
    pub(super) fn verify(&self, head: &Parts, key: &str) -> Result<(), Invalid> {
        let parameter = |name: &str| {
            let mut parameters = head.uri.query().unwrap_or_default().split('&');
            parameters.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
        };
        let credential = parameter("X-Amz-Credential").unwrap_or_default();
        let signature = format!("{:016x}", self.signature(&head.method, key, credential));
        if parameter("X-Amz-Signature") != Some(&signature) {
            return Err(Invalid::Signature);
        }
        let (number, deadline) = credential.split_once('-').unwrap_or_default();
        let good = number.parse::<u64>().is_ok_and(|it| it > self.expired)
            && deadline.parse::<u64>().is_ok_and(|it| it > millis(self.clock.now()));
        if good { Ok(()) } else { Err(Invalid::Expired) }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
