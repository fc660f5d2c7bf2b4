#!/usr/bin/env bash
# An event is deleted past its trigger; its row comes back from the backup, and nothing else is touched.
. "$(dirname "$0")/lib.sh"

own_postgres
load
export BACKUP=$work/good.dump QUARANTINE=$work/damaged.dump
page backup "A dump"
before=$(proof)
psql -q "${ADMIN_URL/dbname=postgres/dbname=dg}" -c "SET session_replication_role = replica" \
    -c "DELETE FROM dg_event_log WHERE tenant_id = 'acme' AND log_seq = 24"

clock
page backup "Of what is damaged"
page restore "Beside"
page projection-count-mismatch "Steps"
until_current
recovered
same "rows and digests" "$before" "$(proof)"
more_events 3
proof >/dev/null
passed
