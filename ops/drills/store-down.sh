#!/usr/bin/env bash
# Postgres goes away under a daemon, which stays and heals by itself.
. "$(dirname "$0")/lib.sh"

own_postgres
load
before=$(proof)

as_postgres pg_ctl -D "$PGDATA" -m immediate -w stop >/dev/null
is_down() { decisiongraph status | grep -q '^database *down'; }
eventually "the daemon sees that its database is away" is_down
page store-down "First checks"
! decisiongraph append "$work/log.jsonl" -t acme >/dev/null 2>&1 || fail "$name: an append was taken"

was=$daemon
clock
systemctl start postgresql
until_current
page store-down "It is over when"
recovered
kill -0 "$was" || fail "$name: the daemon has ended"
same "rows and digests" "$before" "$(proof)"
more_events 3
proof >/dev/null
passed
