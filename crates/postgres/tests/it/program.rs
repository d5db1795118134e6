//! The example as a program, built as it is now, whatever part of the tests is run.

use std::path::{Path, PathBuf};

use tokio::process::Command;

pub(crate) async fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    as_from_a_shell(&mut cargo);
    cargo.args(["build", "--quiet", "--package", "luma-agents-postgres", "--example", "fleet"]);
    assert!(cargo.status().await.unwrap().success());
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(Path::parent).unwrap().join("examples/fleet")
}

/// Without what `cargo test` tells tests of their package: build scripts that see it run again.
pub(crate) fn as_from_a_shell(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|it| name.starts_with(it)) {
            command.env_remove(&*name);
        }
    }
}
