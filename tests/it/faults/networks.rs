//! What is between client and server: TLS, proxies, IPv6, and the runtimes that own connections.

use luma_agents::error::{Fault, RejectionKind};

use super::case::{Before, Case, Front, Outcome, Place, html};
use crate::support::{
    fault_server::{Action, Then},
    tls::Certificate,
    valid,
};

/// Nothing was sent: no connection could be made.
fn unreachable(case: Case) -> Case {
    let never_sent = (3, Outcome::NoResponse(Fault::Connect));
    Case { jobs: 0, write: never_sent, read: never_sent, delete: never_sent, ..case }
}

fn served(name: &'static str) -> Case {
    Case::harmless(name, valid::response)
}

pub(super) fn networks() -> Vec<Case> {
    let tls = |name, certificate| served(name).behind(Front::Tls(certificate));
    let cut = |name, then| {
        let never_sent = (3, Outcome::NoResponse(Fault::Connect));
        Case::new(name, Place::NeverReads(then), 0, never_sent, never_sent).behind(Front::NoTls)
    };
    let page = |status| Action::respond(status, &[("proxy-authenticate", "Basic realm=\"x\"")], &html());
    let proxy = |name, status| {
        let page = page(status);
        unreachable(Case::harmless(name, move |_| page.clone()).behind(Front::Proxy))
    };
    let invalid = (1, Outcome::Rejected(RejectionKind::InvalidRequest));
    vec![
        served("an IPv6 address").behind(Front::Ipv6),
        tls("TLS", Certificate::Good),
        unreachable(tls("TLS: the certificate has expired", Certificate::Expired)),
        unreachable(tls("TLS: the certificate is not valid yet", Certificate::NotYetValid)),
        unreachable(tls("TLS: the certificate is of another host", Certificate::OfAnotherHost)),
        unreachable(tls("TLS: the authority is not known", Certificate::OfUnknownAuthority)),
        cut("TLS: closed inside the handshake", Then::Close),
        cut("TLS: reset inside the handshake", Then::Reset),
        cut("TLS: silence inside the handshake", Then::Hang),
        proxy("a proxy that wants a password (407)", 407),
        proxy("a proxy that reaches nobody (502)", 502),
        Case::always(
            "a proxy for plain http that wants a password (407)",
            page(407).without_job(),
            0,
            invalid,
            invalid,
        )
        .behind(Front::PlainProxy),
        Case::always(
            "a proxy for plain http that reaches nobody (502)",
            page(502),
            1,
            (1, Outcome::Unknown(None)),
            (3, Outcome::Rejected(RejectionKind::Unavailable)),
        )
        .behind(Front::PlainProxy),
    ]
}

/// With the clients that the crate builds.
pub(super) fn runtimes() -> Vec<Case> {
    let stopped = Case::scripted(
        "a kept connection in a runtime that nobody drives",
        valid::response,
        1,
        (1, Outcome::Ok),
        (2, Outcome::Ok),
    )
    .after(Before::CallInStoppedRuntime);
    vec![
        // The connection is found to be dead only by its silence.
        Case { lost: 1, ..stopped },
        served("a kept connection in a runtime that is gone").after(Before::CallInDroppedRuntime),
        served("a kept connection").after(Before::Call),
    ]
}
