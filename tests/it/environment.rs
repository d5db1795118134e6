//! What the environment of a process may hold, each in a process of its own.

use std::{ffi::OsStr, process::Command};

use luma_agents::{ApiKey, Client};

use crate::support::{
    KEY,
    fault_server::{Action, FaultServer},
    valid,
};

/// What a program sees that builds a client from these variables and makes one call.
fn run(variables: &[(&str, &OsStr)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1", "environment::a_program"])
        .env_remove(ApiKey::VARIABLE)
        .env("IN_A_PROCESS_OF_ITS_OWN", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("outcome: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(text.contains("1 passed"), "{text}");
    line.to_owned()
}

#[tokio::test]
#[ignore = "run by the other tests of this file"]
#[allow(clippy::print_stdout, reason = "its parent reads it")]
async fn a_program() {
    if std::env::var_os("IN_A_PROCESS_OF_ITS_OWN").is_none() {
        return;
    }
    let outcome = match Client::from_env() {
        Ok(luma) => luma.generations().get(valid::ID).retry(luma_agents::Retry::none()).await.map(|it| it.state),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(state) => println!("outcome: {state}"),
        Err(error) => println!("outcome: {error}"),
    }
}

fn text(text: &str) -> &OsStr {
    OsStr::new(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_taken_or_named_in_one_line() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let (key, base) = (ApiKey::VARIABLE, "LUMA_BASE_URL");
    let quoted = format!("\"{KEY}\"");
    let url = format!(" {}/ ", server.url());
    let quoted_url = format!("\"{}\"", server.url());
    assert!(run(&[(key, text(KEY)), (base, text(&url))]).contains("completed"));
    for (variables, expected) in [
        (vec![(base, text(&url))], key),
        (vec![(key, text("")), (base, text(&url))], key),
        (vec![(key, text(&quoted)), (base, text(&url))], "in quotes"),
        (vec![(key, text(KEY)), (base, text(&quoted_url))], "base URL"),
        (vec![(key, text(KEY)), (base, text("service.example/v1"))], "base URL"),
        (vec![(key, text(KEY)), (base, text("http://service.example/v1"))], "not https"),
    ] {
        let line = run(&variables);
        assert!(line.contains(expected) && !line.contains(KEY), "{line}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_unicode_is_an_error_and_not_the_default() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = OsStr::from_bytes(b"http://127.0.0.1:1/\xff");
    let line = run(&[(ApiKey::VARIABLE, text(KEY)), ("LUMA_BASE_URL", odd)]);
    assert!(line.contains("LUMA_BASE_URL") && line.contains("Unicode"), "{line}");
    let line = run(&[(ApiKey::VARIABLE, odd)]);
    assert!(line.contains(ApiKey::VARIABLE) && line.contains("Unicode"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_never_sees_what_stays_on_this_machine_and_its_errors_are_named() {
    let server = FaultServer::start(valid::response).await.unwrap();
    let proxy = FaultServer::start(|_| Action::respond(407, &[], "<html>")).await.unwrap();
    let address = format!("http://{}", proxy.address());
    let base = server.url();
    let mut variables = vec![
        (ApiKey::VARIABLE, text(KEY)),
        ("HTTP_PROXY", text(&address)),
        ("HTTPS_PROXY", text(&address)),
        ("ALL_PROXY", text(&address)),
    ];
    variables.push(("LUMA_BASE_URL", text(&base)));
    assert!(run(&variables).contains("completed"));
    assert!(proxy.requests().is_empty());

    variables.pop();
    variables.push(("LUMA_BASE_URL", text("https://service.example/v1")));
    let line = run(&variables);
    assert!(line.contains("no connection could be made") && line.contains("prox"), "{line}");
    assert_eq!(proxy.requests().len(), 1);
    assert!(!proxy.requests()[0].head.contains(KEY));

    let line = run(&[
        (ApiKey::VARIABLE, text(KEY)),
        ("HTTPS_PROXY", text("socks5://127.0.0.1:1")),
        ("LUMA_BASE_URL", text("https://service.example/v1")),
    ]);
    assert!(line.contains("no connection could be made"), "{line}");
}

/// CI runs it alone, since a provider is that of the whole process.
#[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
#[test]
fn without_a_crypto_provider_there_is_an_error_that_says_what_to_do() {
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    let error = luma_agents::Client::new("luma-key").unwrap_err();
    assert!(error.to_string().contains("TLS has no CryptoProvider: install one first"), "{error}");
    aws_lc_rs::default_provider().install_default().unwrap();
    luma_agents::Client::new("luma-key").unwrap();
}
