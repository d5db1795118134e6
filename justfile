# The steps of CI. Each runs alone by its name; they go over every crate of the workspace.

set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := `.ci/tools` + ":" + env("PATH")

# List the steps.
[private]
default:
    @just --list --unsorted

# What CI runs. Steps with files are skipped while these are as they were when the step last passed.
check:
    @.ci/step fmt
    @.ci/step typos
    @.ci/step changelog
    @.ci/step deny
    @.ci/step clippy
    @.ci/step features
    @.ci/step tree
    @.ci/step test
    @.ci/step tomorrow
    @.ci/step doc
    @.ci/step quickstart
    @.ci/step shells
    @.ci/step python {{ manifests }} {{ sources }}
    @.ci/step report {{ manifests }} {{ sources }}
    @.ci/step postgres {{ manifests }} {{ sources }}
    @.ci/step package {{ manifests }} README.md CHANGELOG.md examples {{ sources }}
    @.ci/step msrv {{ manifests }} examples tests benches {{ sources }}
    @.ci/step minimal-versions {{ manifests }} {{ sources }}
    @.ci/step mutants-changed {{ sources }} crates/batch docs/mutants.md

# Everything, skipping nothing: also what takes too long for each change.
check-all: && soak chaos chaos-fleet wheel
    @CHECK_ALL=1 just check

manifests := "Cargo.toml Cargo.lock crates"
sources := "src build build.rs openapi.yaml"

# Formatting.
fmt:
    cargo fmt --all --check

# Spelling.
typos:
    typos

# A change of a public API is in the changelog; the changelog has the form of Keep a Changelog.
changelog:
    .ci/changelog

# Licences, sources, and which crates may be used, and by whom: see deny.toml.
deny:
    cargo deny --workspace --locked check licenses bans sources
    if ls -d "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/ >/dev/null 2>&1; then cargo deny --workspace --locked --offline check advisories; else echo "advisories: no database on this machine; just advisories fetches it"; fi

# Fetch the database of known vulnerabilities, which `deny` then uses too, and check against it.
advisories:
    cargo deny --locked check advisories

# Lints, with all features and with the default ones.
clippy:
    for manifest in Cargo.toml crates/*/Cargo.toml; do [ ! -e "$manifest" ] || grep -A1 '^\[lints\]' "$manifest" | grep -q '^workspace = true' || { echo "$manifest: [lints] workspace = true is missing"; exit 1; }; done
    cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
    cargo clippy --locked --workspace -- -D warnings

# Each feature alone, and none.
features:
    .ci/features

# A normal build has nothing of the mocks, and the command line's emulator has no httpmock.
tree:
    tree="$(cargo tree --locked --package luma-agents --edges normal)"; ! grep -E "font8x8|httpmock|jsonschema|png|schemars" <<<"$tree"
    tree="$(cargo tree --locked --package luma-agents --edges normal --features emulator)"; ! grep httpmock <<<"$tree"
    tree="$(cargo tree --locked --package luma-agents-cli --edges normal)"; ! grep httpmock <<<"$tree"

# The tests, by the command that the README gives in its second `sh` block.
test:
    command="$(awk '/^```sh$/ {block++; next} /^```$/ {next} block == 2 {print; exit}' README.md)"; echo "$command"; [[ "$command" == "cargo test"* ]]; eval "$command"

# A program written today compiles and runs on a document that has grown.
tomorrow:
    cargo test --locked --package luma-agents --test it -- --ignored tomorrow

# The documentation, without a broken link.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --all-features

# The README's first command, on the emulator. Where it cannot save, it starts nothing.
quickstart:
    said="$(env -u LUMA_AGENTS_API_KEY cargo run --quiet --locked --example quickstart -- --out missing-folder 2>&1)" && exit 1; echo "$said"; grep -q "missing-folder is no directory to save into" <<<"$said"; ! grep -q started <<<"$said"
    out="$(mktemp -d)"; env -u LUMA_AGENTS_API_KEY cargo run --locked --example quickstart -- --out "$out" "a lighthouse at dusk"; ls "$out"/*.png; rm -r "$out"

# A wheel that carries a static `luma`, in a clean environment with the official Python SDK.
python:
    .ci/python

# The completions of the command line, in three shells.
shells:
    .ci/shells

# The fleet on a real PostgreSQL, which is installed where it is missing.
postgres:
    .ci/postgres

# The packed crates, unpacked elsewhere: tests, examples, documentation.
package:
    .ci/package

# Each crate with the oldest Rust that it promises.
msrv:
    .ci/msrv

# The lowest versions of dependencies that the manifests promise.
minimal-versions:
    .ci/minimal-versions

# The report of a batch, in Chromium.
report:
    .ci/report

# The same as it is given to users, and its size. Minutes, for its release build.
wheel:
    .ci/python dist

# Whether a test fails for each small change of the code: hours, in shards, and it goes on where it stopped.
mutants *shard:
    .ci/mutants {{ shard }}

# The same for the lines that changed since $MUTANTS_BASE, by default the commit before, in five minutes at most.
mutants-changed:
    .ci/mutants changed

# Ten thousand generations against a server that breaks a tenth of all exchanges, over HTTP/1 and HTTP/2.
soak:
    cargo test --locked --release --package luma-agents --test it -- --ignored --nocapture soak

# Two hundred batches, killed at random moments and resumed, and a journal with every byte in every form: half an hour.
chaos:
    CHAOS_ROUNDS=200 cargo test --locked --package luma-agents-batch --test it -- --nocapture killed_at_any_moment
    cargo test --locked --release --package luma-agents-batch --lib -- --ignored every_byte_in_every_form

# Twenty times four workers that are killed, cut off and restarted, on a PostgreSQL that is restarted too: half an hour.
chaos-fleet:
    CHAOS_SEEDS=20 cargo test --locked --package luma-agents-postgres --test it -- --nocapture killed_workers
