#!/usr/bin/env bash
# Somebody drops the log; pgBackRest brings the cluster back to the moment before.
. "$(dirname "$0")/lib.sh"

command -v pgbackrest >/dev/null || skip "no pgbackrest (apt install pgbackrest)"
export PGBACKREST_CONFIG=$work/pgbackrest.conf
as_postgres_dir "$work/repository" "$work/pgbackrest"
{
    block point-in-time ini '[dg]' |
        sed "s|=/var/lib/pgbackrest\$|=$work/repository|; s|^pg1-path=.*|pg1-path=$work/main|"
    echo "pg1-socket-path=$work/main.run"
    printf '\n[global]\nlog-path=%s\nlock-path=%s\nspool-path=%s\n' "$work/pgbackrest"{,,}
} >"$PGBACKREST_CONFIG"
own_postgres "$(block point-in-time '' archive_mode)"
load
page point-in-time "Once, beforehand"
page point-in-time "Every day"
more_events 3
before=$(proof)
TIME=$(psql -Atc 'SELECT clock_timestamp()' "$DB_URL")
as_postgres_dir "$work/aside"
export TIME QUARANTINE=$work/aside/main
psql -q "${ADMIN_URL/dbname=postgres/dbname=dg}" -c 'DROP TABLE dg_event_log CASCADE'

page point-in-time "First checks"
clock
page point-in-time "After the accident"
until_current
recovered
page point-in-time "It is over when"
same "rows and digests" "$before" "$(proof)"
more_events 4
proof >/dev/null
passed
