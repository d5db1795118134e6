#!/usr/bin/env bash
# The cost of a build: a cold build of a program that uses this crate against the same program on
# bare reqwest, and the rebuild after one edit of openapi.yaml. Debug profile, two jobs. A third program
# is bare reqwest with the generator, which it does not run: no crate that generates its client costs
# less. With a directory as argument, the report of `cargo build --timings` is kept there.
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export CARGO_INCREMENTAL=1 CARGO_TERM_COLOR=never
unset RUSTFLAGS CARGO_TARGET_DIR RUSTC_WRAPPER

# A copy, so that the edit does not change the working tree.
mkdir "$work/luma-agents"
git ls-files -z | xargs -0 cp --parents -t "$work/luma-agents"

# program <name> <manifest, from its dependencies on> <main>
program() {
    mkdir -p "$work/$1/src"
    printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\n%s\n' "$1" "$2" >"$work/$1/Cargo.toml"
    printf '%s\n' "$3" >"$work/$1/src/main.rs"
    cp Cargo.lock "$work/$1/Cargo.lock"
    (cd "$work/$1" && cargo fetch --quiet)
}

tokio='tokio = { version = "1", features = ["macros", "rt-multi-thread"] }'
program ours "luma-agents = { path = \"../luma-agents\" }
$tokio" '#[tokio::main]
async fn main() -> luma_agents::Result<()> {
    let luma = luma_agents::Client::from_env()?;
    let id = std::env::args().nth(1).unwrap_or_default();
    println!("{:?}", luma.generations().get(id).await?);
    Ok(())
}'
bare="reqwest = { version = \"0.13\", features = [\"json\"] }
serde_json = \"1\"
$tokio"
main='#[tokio::main]
async fn main() -> reqwest::Result<()> {
    let id = std::env::args().nth(1).unwrap_or_default();
    let url = format!("https://agents.lumalabs.ai/v1/generations/{id}");
    let generation: serde_json::Value = reqwest::Client::new().get(url).send().await?.json().await?;
    println!("{generation:?}");
    Ok(())
}'
program bare "$bare" "$main"
program generator "$bare

[build-dependencies]
openapiv3 = \"2\"
prettyplease = \"0.3\"
progenitor = { version = \"0.15\", default-features = false }
yaml_serde = \"0.10\"" "$main"
echo 'fn main() { println!("cargo:rerun-if-changed=build.rs"); let _ = progenitor::Generator::default(); }' >"$work/generator/build.rs"

# build <name>: "<crates> <CPU seconds> <seconds>"
build() {
    local TIMEFORMAT='%U %S %R' log="$work/$1.log"
    { time (cd "$work/$1" && cargo build --jobs 2 --timings >"$log" 2>&1) || { cat "$log" >&2; exit 1; }; } 2>"$work/time"
    awk -v crates="$(grep -c Compiling "$log")" '{printf "%d %.1f %.1f\n", crates, $1 + $2, $3}' "$work/time"
}

read -r ours_crates ours_cpu _ <<<"$(build ours)"
read -r bare_crates bare_cpu _ <<<"$(build bare)"
read -r generator_crates generator_cpu _ <<<"$(build generator)"
[ $# -eq 0 ] || cp "$work/ours/target/cargo-timings/cargo-timing.html" "$1/ours.html"
# A new model.
sed -i 's/^        - ray-3\.2$/&\n        - ray-4/' "$work/luma-agents/openapi.yaml"
read -r _ edit_cpu edit_wall <<<"$(build ours)"

ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
verdict() { awk -v a="$1" -v b="$2" 'BEGIN {print (a <= b) ? "met" : "**missed**"}'; }
cost="$(ratio "$ours_cpu" "$bare_cpu")"
echo "| figure | ours | bare | judged | goal |"
echo "| --- | --- | --- | --- | --- |"
echo "| crates of a cold build | $ours_crates | $bare_crates | $(ratio "$ours_crates" "$bare_crates") | |"
echo "| CPU time of a cold build, s | $ours_cpu | $bare_cpu | $cost | ≤ 1.4 $(verdict "$cost" 1.4) |"
echo "| bare and the generator: crates | $generator_crates | $bare_crates | $(ratio "$generator_crates" "$bare_crates") | |"
echo "| bare and the generator: CPU time, s | $generator_cpu | $bare_cpu | $(ratio "$generator_cpu" "$bare_cpu") | |"
echo "| rebuild after an edit of openapi.yaml, s (CPU time $edit_cpu s) | $edit_wall | | $edit_wall | ≤ 15 $(verdict "$edit_wall" 15) |"
