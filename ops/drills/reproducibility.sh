#!/usr/bin/env bash
# The log of a tenant gives the same digests in an empty cluster of another release of Postgres.
. "$(dirname "$0")/lib.sh"

other_postgres || skip "no Postgres of another release than $(postgres --version), and none from PyPI"
configuration
load
export EVENTS=$work/events.jsonl ELSEWHERE=$work/elsewhere
page reproducibility "First checks"
clock
page reproducibility "Steps"
page reproducibility "It is over when"
recovered
grep -q "^proven: tenant acme, " elsewhere.txt || fail "$name: nothing was proven"
[ "$(cat "$ELSEWHERE/pg/data/PG_VERSION")" != "$(cat "$work/state/pg/data/PG_VERSION")" ] ||
    fail "$name: both are of the same release of Postgres"
passed
