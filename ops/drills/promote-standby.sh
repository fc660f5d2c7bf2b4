#!/usr/bin/env bash
# The primary dies; its standby is promoted, and the daemon follows.
. "$(dirname "$0")/lib.sh"

own_postgres
export PRIMARY=$PGDATA PGDATA=$work/standby
as_postgres_dir "$PGDATA" "$work/standby.run"
export STANDBY_URL="host=$work/standby.run user=dg dbname=dg"
configuration "database_url = \"host=$work/main.run,$work/standby.run user=dg dbname=dg\""
as_postgres pg_basebackup -D "$PGDATA" -h "$work/main.run" -U postgres -R -X stream -c fast
postgres_settings "$PGDATA" "unix_socket_directories = '$work/standby.run'"
systemctl start postgresql
load
before=$(proof)
has_all() { [ "$(psql -Atc 'SELECT count(*) FROM dg_event_log' "$STANDBY_URL")" = \
    "$(psql -Atc 'SELECT count(*) FROM dg_event_log' "$DB_URL")" ]; }
eventually "the standby has every event" has_all

as_postgres pg_ctl -D "$PRIMARY" -m immediate -w stop >/dev/null
page promote-standby "First checks"
clock
page promote-standby "Steps"
until_current
page promote-standby "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
more_events 3
proof >/dev/null
passed
