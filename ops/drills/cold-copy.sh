#!/usr/bin/env bash
# The embedded Postgres is copied at rest, lost, and put back.
. "$(dirname "$0")/lib.sh"

configuration
load
before=$(proof) cursors=$(cursors)
export DATA_DIR=$work/state COPY=$work/copy
page backup "A cold copy"
more_events 3
decisiongraph psql -qc 'DROP TABLE dg_event_log CASCADE'

clock
page restore "From a cold copy"
until_current
recovered
same "rows and digests" "$before" "$(proof)"
same "cursors" "$cursors" "$(cursors)"
passed
