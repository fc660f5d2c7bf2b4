# The accidents of ops/accident.sh. Sourced, not run.
#
# Each is a function that breaks the installation of $dir, of which $tenant is chosen, notes with `was`
# the page that mends it and what it was, and says with `pager` what would be seen. All that is left
# to chance comes from $RANDOM, so that a seed tells it.

as_admin() { psql -qAt -v ON_ERROR_STOP=1 "${ADMIN_URL/dbname=postgres/dbname=dg}" -c "$1"; }

# A session of somebody, that stays after us.
session() { PGAPPNAME=$1 setsid psql -q "$2" "${@:3}" >/dev/null 2>&1 </dev/null & }

# Past what guards the tables from hands.
by_force() { as_admin "SET session_replication_role = replica; $1"; }

kill_daemon() {
    end_daemons "$config" KILL
    echo " (code=killed, signal=KILL)" >"$game/decisiongraph.ended"
}

accident_wrong_key() {
    kill_daemon
    echo "$(one_of 'pool_sise = 16' 'pool_size=2' 'projections=["context"]')" >>"$config"
    was daemon-down "The daemon was killed, and its configuration has a wrong last line, so it does not start."
    pager "DaemonDown: DecisionGraph does not answer"
}

accident_daemon_killed() {
    kill_daemon
    was daemon-down "The daemon was killed with signal 9."
    pager "DaemonDown: DecisionGraph does not answer"
}

accident_socket_removed() {
    rm "$dir/state/decisiongraph.sock"
    was daemon-down "Somebody removed the daemon's socket; the daemon runs."
    pager "A user says: all commands end with 69 since this morning. Prometheus finds nothing."
}

accident_postgres_stopped() {
    stop_postgres "$(one_of fast immediate)"
    was store-down "Postgres was stopped."
    pager "StoreDown: DecisionGraph does not reach its database"
}

accident_login_refused() {
    as_admin "ALTER ROLE dg NOLOGIN" && drop_sessions
    was store-errors "The role of the daemon may not log in any more."
    pager "StoreErrors: calls to the database fail (storage)"
}

drop_sessions() { as_admin "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dg'" >/dev/null; }

accident_privilege_lost() {
    as_admin "REVOKE INSERT, UPDATE ON dg_trace_summary FROM dg"
    was store-errors "The daemon's role may not write to dg_trace_summary any more."
    pager "WorkersRetrying: workers of trace_summary try again and again"
}

accident_rows_changed() {
    as_admin "UPDATE dg_trace_summary SET title = 'Lorem ipsum' WHERE (tenant_id, trace_id) IN (SELECT tenant_id, trace_id
        FROM dg_trace_summary WHERE tenant_id = '$tenant' ORDER BY trace_id OFFSET $((RANDOM % 20)) LIMIT 3)"
    was projection-rows-differ "Three titles in dg_trace_summary of $tenant were written over."
    pager "A user of $tenant says: some traces are called 'Lorem ipsum'. Is anything else wrong?"
}

accident_payload_changed() {
    local number=$((RANDOM % 500 + 1))
    by_force "UPDATE dg_event_log SET payload_json = replace(payload_json, '}', ',\"zz\":1}')
        WHERE tenant_id = '$tenant' AND log_seq = $number"
    was log-damage "The payload of event $number of $tenant was changed in the log."
    pager "The nightly \`decisiongraph verify -t $tenant\` ended with 7."
}

accident_dead_letter() {
    as_admin "SET ROLE dg; SELECT dg_append(tenant_id => '$tenant', trace_id => 'bad', trace_seq => 0,
        event_type => 'TraceStarted', occurred_at => '2026-11-20T09:30:00Z', producer_id => 'psql',
        source_system => 'ops', actor_type => 'person', actor_id => 'ann', idempotency_key => 'bad:$RANDOM',
        payload => '{}')" >/dev/null
    was projection-failed "An event with an empty payload came in through dg_append, which no projector can apply."
    pager "ProjectionFailed: trace_summary of tenant $tenant has failed" \
        "Ann, who enters by hand with psql, says what it was to be: the workflow deal_approval, titled" \
        "'Shelving for Lumen', about the opportunity opp-1."
}

accident_commits_lost() {
    local first=$((500 + RANDOM % 200))
    by_force "DELETE FROM dg_event_log WHERE tenant_id = '$tenant' AND log_seq >= $first;
        UPDATE dg_tenant_heads SET last_log_seq = $first - 1, event_count = $first - 1 WHERE tenant_id = '$tenant'"
    was lost-commits "The log of $tenant lost its events from $first on, which were applied; the producers have them in sent/."
    pager "The standby was promoted at night. ProjectionFailed: context_graph of tenant $tenant has failed." \
        "The producers keep what they sent in $dir/sent/$tenant.jsonl."
}

accident_event_removed() {
    local last
    last=$(wc -l <"sent/$tenant.jsonl") # it is in the backup
    end_daemons "$config" TERM
    by_force "DELETE FROM dg_event_log WHERE tenant_id = '$tenant' AND log_seq = $last"
    start_daemon "$config"
    was log-damage "Event $last of $tenant, the last of the backup, was deleted from the log."
    pager "The nightly \`decisiongraph verify -t $tenant\` ended with 7. A colleague says: I have tidied the log a bit."
}

accident_forgotten_lock() {
    session psql "$DB_URL" -c "BEGIN" -c "SELECT * FROM dg_tenant_heads FOR UPDATE" -c "SELECT pg_sleep(86400)"
    was locks "A session of psql holds locks on all heads of tenants, and does not commit."
    pager "AppendsFailed: DecisionGraph fails to take 100% of appended events"
}

accident_connections_exhausted() {
    local number process
    # Held still, so that it does not take back what it loses.
    process=$(daemons "$config") && kill -STOP "$process"
    drop_sessions
    eventually "its sessions have ended" no_sessions
    for number in {1..37}; do session reporting "$DB_URL" -c "SELECT pg_sleep(86400)"; done
    eventually "all connections are taken" no_place
    kill -CONT "$process"
    was store-errors "37 sessions called 'reporting' take the connections that the daemon needs."
    pager "StoreErrors: calls to the database fail (storage). Users say that appends and reads fail."
}

no_sessions() { as_admin "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dg'" | quiet grep -x 0; }
no_place() { as_admin "SELECT 'full' FROM pg_stat_activity WHERE application_name = 'reporting' HAVING count(*) >= 35" | quiet grep full; }

accident_disk_full() {
    local number
    # Until nothing more goes in, not even where Postgres has kept room.
    cat /dev/zero >"$dir/volume/old-reports.csv" 2>/dev/null || true
    for number in {1..20}; do
        decisiongraph generate --traces 500 --seed "$RANDOM$number" | quiet decisiongraph import - -t "$tenant" || break
    done
    was disk-full "The volume of Postgres is full of $dir/volume/old-reports.csv."
    pager "A user says: appends end with storage. The data volume is $dir/volume."
}

accident_run_interrupted() {
    session psql "$DB_URL" -c "BEGIN" -c "SELECT * FROM dg_tenant_heads FOR UPDATE" \
        -c "SELECT * FROM dg_projection_cursors FOR UPDATE" -c "SELECT pg_sleep(86400)"
    eventually "the cursors are held" cursors_are_held
    quiet decisiongraph rebuild all -t "$tenant" --reason "titles look odd"
    eventually "the run has begun" run_is running
    kill_daemon
    as_admin "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(86400)'
        AND pid <> pg_backend_pid()" >/dev/null
    start_daemon "$config"
    eventually "the run is known to be interrupted" run_is interrupted
    was run-interrupted "The daemon was killed during a rebuild of $tenant and started again."
    pager "RunInterrupted: rebuild runs are interrupted: 1"
}

cursors_are_held() { as_admin "SELECT query FROM pg_stat_activity" | quiet grep -x 'SELECT pg_sleep(86400)'; }
run_is() { decisiongraph runs --status "$1" -o jsonl | quiet grep run_id; }

accident_two_daemons() {
    sed "s|$dir/state|$dir/other|" "$config" >"$dir/other.toml"
    start_daemon "$dir/other.toml"
    was two-daemons "A second daemon runs on a copy of the configuration, $dir/other.toml."
    pager "A user says: the log warns of 'another daemon'. Is that wanted?"
}

accident_migration_forgotten() {
    kill_daemon
    as_admin "DELETE FROM dg_schema_migrations WHERE version = (SELECT max(version) FROM dg_schema_migrations)"
    was daemon-down "The daemon was killed, and the row of the last step deleted from dg_schema_migrations: the start does that step again."
    pager "DaemonDown: DecisionGraph does not answer. Somebody has tidied the database by hand."
}
