#!/usr/bin/env bash
# From a fresh clone to proven projections: installs what is missing, builds, and runs the demo.
# Arguments go to `decisiongraph demo`, such as --keep-running or --data-dir DIR.
set -euo pipefail
cd "$(dirname "$0")/.."
. ops/lib.sh

need_rust
need_postgres
echo "building (the first time takes some minutes) ..."
cargo build --release --locked --quiet -p dg-admin
exec target/release/decisiongraph demo --log-level warn "$@"
