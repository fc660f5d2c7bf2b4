#!/usr/bin/env bash
# A row of a projection is changed by hand; a rebuild mends it.
. "$(dirname "$0")/lib.sh"

own_postgres
load
before=$(proof)
decisiongraph psql -qc "UPDATE dg_trace_summary SET title = 'another' WHERE ctid =
    (SELECT ctid FROM dg_trace_summary WHERE tenant_id = 'acme' ORDER BY trace_id LIMIT 1)"

page projection-rows-differ "First checks"
clock
page projection-rows-differ "Steps"
page projection-rows-differ "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
passed
