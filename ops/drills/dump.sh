#!/usr/bin/env bash
# A dump is made beside a daemon at work, and restored after the database is gone.
. "$(dirname "$0")/lib.sh"

own_postgres
load
export BACKUP=$work/good.dump
page backup "First checks"
page backup "A dump"
before=$(proof)
psql -q "${ADMIN_URL/dbname=postgres/dbname=dg}" -c 'DROP TABLE dg_event_log CASCADE'

clock
page restore "First checks"
page restore "From a dump"
until_current
page restore "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
more_events 3
proof >/dev/null
passed
