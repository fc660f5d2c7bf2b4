#!/usr/bin/env bash
# An event is changed past its trigger; the backup takes the place of the log.
. "$(dirname "$0")/lib.sh"

own_postgres
load
export BACKUP=$work/good.dump SINCE=$work/since QUARANTINE=$work/damaged.dump
page backup "A dump"
more_events 3
before=$(proof)
psql -q "${ADMIN_URL/dbname=postgres/dbname=dg}" -c "SET session_replication_role = replica" \
    -c "UPDATE dg_event_log SET payload_json = replace(payload_json, '{', '{\"a\":1,')
        WHERE tenant_id = 'acme' AND log_seq = 9"

clock
page log-damage "First checks"
page log-damage "Aside"
page restore "From a dump"
page log-damage "What came since"
until_current
page log-damage "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
passed
