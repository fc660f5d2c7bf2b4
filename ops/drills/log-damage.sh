#!/usr/bin/env bash
# An event is changed past its trigger; the backup takes the place of the log.
. "$(dirname "$0")/lib.sh"

own_postgres
load
export BACKUP=$work/good.dump EVENTS=$work/since.jsonl QUARANTINE=$work/damaged.dump
pg_dump --format=custom --file="$BACKUP" --dbname="$DATABASE_URL"
more_events 3
before=$(proof)
psql -q "${ADMIN_URL/dbname=postgres/dbname=dg}" -c "SET session_replication_role = replica" \
    -c "UPDATE dg_event_log SET payload_json = replace(payload_json, '{', '{\"a\":1,')
        WHERE tenant_id = '$TENANT' AND log_seq = 9"

expect=7 page log-damage "First checks"
clock
page log-damage "Steps" 3
