#!/usr/bin/env bash
# Every check there is: format, lints, tests, documentation. Starts its own Postgres and stops it.
# Arguments go to `cargo test`, such as -p dg-store or the name of a test.
set -euo pipefail
cd "$(dirname "$0")/.."
. ops/lib.sh

need_rust
need_postgres
want promtool prometheus
want curl curl
want jq jq
want /lib/systemd/systemd systemd
want dpkg-shlibdeps dpkg-dev
want chromium chromium
want nft nftables
want faketime faketime
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

step "build"
cargo test --workspace --locked --no-run --quiet

# One server for all tests. It ends when its standard input does: with this script, however it ends.
step "tests"
coproc POSTGRES { target/debug/test-postgres 2>&1; }
read -r url <&"${POSTGRES[0]}" || fail "the tests' Postgres did not start"
case $url in postgres://*) ;; *) fail "the tests' Postgres did not start: $url" ;; esac
export DECISIONGRAPH_TEST_DATABASE_URL=$url
if [ -z "${DECISIONGRAPH_PARITY-}" ] && [ -f ../shared/reference/golden_bundle.json ]; then
    export DECISIONGRAPH_PARITY=$PWD/../shared/reference/golden_bundle.json
fi
outcome=0
cargo test --workspace --locked --no-fail-fast "$@" 2>&1 | tee "$log" || outcome=$?

step "faults"
target/debug/faults --quick --seed 1 2>&1 | tee -a "$log" || outcome=$?

# The debug binary against what was recorded of a debug binary: its ratios are low, and what is far
# below them is a round trip, an index or a copy too many. A machine that is busy changes both halves.
step "speed"
target/debug/decisiongraph-under-test bench append read project rebuild digest --traces 400 --rounds 3 \
    --database-url "$url" --baseline ops/bench-baseline.json || outcome=1

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet || outcome=1

count() { grep -oE "[0-9]+ $1" "$log" | awk '{ total += $1 } END { print total + 0 }'; }
skipped=$(grep -c '^SKIPPED: ' "$log" || true)
step "done"
[ "$skipped" -eq 0 ] || grep '^SKIPPED: ' "$log" | sort | uniq -c
echo "$(count passed) passed, $(count failed) failed, $skipped skipped"
exit "$outcome"
