#!/usr/bin/env bash
# A daemon and its embedded Postgres are killed; the start finds everything where it was.
. "$(dirname "$0")/lib.sh"

configuration
load
before=$(proof) cursors=$(cursors)

postmaster=$(head -n 1 "$work/state/pg/data/postmaster.pid")
kill -KILL "$daemon" "$postmaster"
wait "$daemon" || true
daemon=""

clock
page node-restart "Steps"
until_current
page node-restart "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
same "cursors" "$cursors" "$(cursors)"
passed
