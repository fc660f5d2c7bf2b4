#!/usr/bin/env bash
# A tour of a running daemon with curl alone: everything that the command line asks of it, each answer
# checked. To be run, and to be read by whoever writes a client.
#
#   ops/tour.sh [SOCKET] [ADDRESS]
#
# SOCKET is the admin socket (.decisiongraph/decisiongraph.sock), ADDRESS the loopback listener
# (127.0.0.1:9464), or `off`. Needs curl and jq. Does no harm: it writes to two tenants of its own,
# which it names in the end. `verify`, `parity`, `migrate` and `psql` have no request: they go to the
# database, so that they need not trust the daemon.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

socket=${1:-.decisiongraph/decisiongraph.sock}
address=${2:-127.0.0.1:9464}
for program in curl jq; do
    command -v $program >/dev/null 2>&1 || fail "$program was not found" "as root: apt-get install $program"
done
[ -S "$socket" ] || fail "there is no socket at $socket" "start a daemon with \`decisiongraph serve\`, or name its socket"

id=$(date +%s)-$$
tenant=tour-$id
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

chapter() { printf '\n%s\n' "$1"; }

# ask METHOD TARGET [CURL'S OPTIONS]: the answer goes to $answer, its status to $status.
ask() {
    local method=$1 target=$2
    shift 2
    printf '  %s %s\n' "$method" "$target"
    status=$(curl --silent --show-error --max-time 60 --unix-socket "$socket" --request "$method" \
        --header "x-tenant-id: $tenant" --output "$scratch/answer" --write-out '%{http_code}' \
        "$@" "http://dg$target")
    answer=$(cat "$scratch/answer")
}

# holds STATUS [JQ-FILTER [JQ'S OPTIONS]]: what must be true of the last answer.
holds() {
    local expected=$1 filter=${2:-true}
    shift $(($# > 1 ? 2 : 1))
    [ "$status" = "$expected" ] || fail "status $status instead of $expected: $answer"
    jq --exit-status "$@" "$filter" "$scratch/answer" >/dev/null || fail "'$filter' is not true of: $answer"
}

# until_holds JQ-FILTER METHOD TARGET: asks again for up to half a minute.
until_holds() {
    local filter=$1 tries=0
    shift
    ask "$@"
    until [ "$status" = 200 ] && jq --exit-status "$filter" "$scratch/answer" >/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "'$filter' did not come true: $answer"
        sleep 0.1
        ask "$@" >/dev/null
    done
}

# event TRACE NUMBER TYPE PAYLOAD: one line of JSON.
event() {
    jq --null-input --compact-output --arg trace "$1" --argjson seq "$2" --arg type "$3" --argjson payload "$4" '{
        event_id: "\($trace).\($seq)", trace_id: $trace, trace_seq: $seq, event_type: $type,
        occurred_at: "2026-11-20T09:00:00Z", source: {producer_id: "tour", system: "curl"},
        actor: {actor_type: "person", actor_id: "ann"}, idempotency_key: "\($trace):\($seq)", payload: $payload}'
}
started() { printf '{"workflow":"tour","title":"%s","primary_entity":{"entity_type":"account","entity_id":"42"}}' "$1"; }

json='content-type: application/json'
lines='content-type: application/x-ndjson'

chapter "The log: append, again, wrongly"
event deal-1 0 TraceStarted "$(started 'Shelving for Lumen')" >"$scratch/event"
ask POST /v1/events --header "$json" --data-binary "@$scratch/event"
holds 200 '.data.status == "inserted" and .data.log_seq == 1'
ask POST /v1/events --header "$json" --data-binary "@$scratch/event"
holds 200 '.data.status == "reused" and .data.log_seq == 1'
ask POST /v1/events --header "$json" --data '{"event_id":"deal-1.1"}'
holds 422 '.error.code == "schema_violation" and .error.details.path == "$.trace_id"'
ask POST /v1/events --header "$json" --header 'x-request-id: mine' --data 'no JSON'
holds 400 '.error.code == "invalid_argument" and .request_id == "mine"'

chapter "JSON Lines: each line its own answer, or all or nothing"
policy='"policy":{"policy_id":"discount-authority","policy_version":"1"}'
{
    event deal-1 1 PolicyEvaluated "{$policy,\"inputs\":[],\"decision\":\"allow\"}"
    echo '{"this":"is no event"}'
    event deal-1 2 TraceFinished '{"outcome":"success"}'
} >"$scratch/mixed"
ask POST '/v1/events?atomic=true' --header "$lines" --data-binary "@$scratch/mixed"
holds 422 '.error.details.line == 2'
ask POST /v1/events --header "$lines" --data-binary "@$scratch/mixed"
holds 200 '[.data.results[].status] == ["inserted", "rejected", "inserted"]'

chapter "Import in bulk, export, and move house"
jq --null-input --compact-output 'range(2000) | {
    event_id: "bulk-\(.).0", trace_id: "bulk-\(.)", trace_seq: 0, event_type: "TraceStarted",
    occurred_at: "2026-11-20T10:00:00Z", source: {producer_id: "tour", system: "curl"},
    actor: {actor_type: "agent", actor_id: "bot"}, idempotency_key: "bulk-\(.):0",
    payload: {workflow: "bulk", title: "Number \(.)", primary_entity: {entity_type: "item", entity_id: "\(.)"}}}' \
    >"$scratch/bulk"
ask POST /v1/events --header "$lines" --data-binary "@$scratch/bulk"
holds 200 '[.data.results[].status] | length == 2000 and all(. == "inserted")'
ask GET /v1/events --header 'accept: application/x-ndjson'
holds 200
cp "$scratch/answer" "$scratch/log"
[ "$(wc -l <"$scratch/log")" = 2003 ] || fail "$(wc -l <"$scratch/log") lines were exported instead of 2003"
own=$tenant tenant=$tenant-copy
jq --compact-output --arg tenant "$tenant" '.tenant_id = $tenant' "$scratch/log" >"$scratch/moved"
ask POST '/v1/events?keep_log_seq=true' --header "$lines" --data-binary "@$scratch/moved"
holds 200 '[.data.results[].log_seq] == [range(1; 2004)]'
tenant=$own

chapter "Read the log"
ask GET '/v1/events?trace_id=deal-1&event_type=TraceFinished'
holds 200 '[.data[].event_id] == ["deal-1.2"]'
ask GET '/v1/events?since_log_seq=3&until_log_seq=100&since_occurred_at=2026-11-20T09:59:59Z&until_occurred_at=2026-11-20T10:00:00Z&limit=10'
holds 200 '(.data | length) == 10 and .data[0].log_seq == 4'
ask GET '/v1/events?trace=deal-1'
holds 400 '.error.code == "invalid_argument"' # a parameter that there is not
ask GET '/v1/traces/deal-1?since_trace_seq=0'
holds 200 '.data.finished and [.data.events[].trace_seq] == [1, 2]'

chapter "Read projections, and wait for your own writes"
ask GET '/v1/traces/deal-1/summary?wait_ms=30000'
holds 200 '.data.outcome == "success" and .data.title == "Shelving for Lumen"'
ask GET '/v1/traces/nobody/summary?wait_ms=30000'
holds 404 '.error.code == "not_found"'
ask GET '/v1/graph?kind=trace&id=deal-1&depth=2&max_nodes=50&max_edges=50&wait_ms=30000'
holds 200 '[.data.nodes[].node_id] | index("entity:account:42") != null'
ask GET '/v1/graph?kind=trace&id=deal-1&node_type=trace,entity&edge_type=trace_involves_entity'
holds 200 '[.data.edges[].edge_type] == ["trace_involves_entity"]'
ask GET '/v1/edges?kind=trace&id=deal-1&direction=outgoing&limit=1&wait_ms=30000'
holds 200 '(.data.edges | length) == 1 and .data.next_cursor != null'
cursor=$(jq --raw-output '.data.next_cursor | @uri' "$scratch/answer")
ask GET "/v1/edges?kind=trace&id=deal-1&direction=outgoing&limit=1&cursor=$cursor"
holds 200 '(.data.edges | length) == 1'
ask GET '/v1/precedents?policy_id=discount-authority&policy_version=1&outcome=success&wait_ms=30000'
holds 200 '[.data[].trace_id] == ["deal-1"]'
ask GET '/v1/precedents?entity_type=account&entity_id=42&limit=10'
holds 200 '[.data[].trace_id] == ["deal-1"]'

chapter "How it is"
ask GET /v1/status
holds 200 '.data.database.state == "up"'
ask GET /v1/tree
holds 200 '[.data.children[].name] | index("store") != null'
until_holds '.data.is_stale == false and .data.event_count == 2003' GET /v1/health
ask GET '/v1/health?all=true'
holds 200 '[.data[].tenant_id] | index($tenant) != null' --arg tenant "$tenant"
ask GET '/v1/workers?state=idle'
holds 200 '[.data[].projection_name] | unique | length == 3'
ask GET '/v1/workers?all=true'
holds 200 '[.data[].tenant_id] | index($tenant) != null' --arg tenant "$tenant"
ask GET '/v1/failures?all=true'
holds 200 '.data == []'
ask POST /v1/projections/trace_summary/retry
holds 200 '.data.requested'

chapter "Digests: as last computed, and computed now; the copy has the same"
ask GET /v1/digests
holds 200 '.data.digests | keys | length == 4'
holds 200 '.data.event_count == .data.last_log_seq and .data.versions.semantics == 1'
ask GET '/v1/digests?fresh=true'
holds 200 '.data.digests.full_projection.log_seq == 2003'
digest=$(jq --raw-output .data.digests.full_projection.digest "$scratch/answer")
tenant=$own-copy
until_holds '.data.is_stale == false' GET /v1/health
tenant=$own
printf '  %s\n' "$digest"

# begin BODY: a run, whose identifier goes to $run.
begin() {
    ask POST /v1/runs --header "$json" --data "$1"
    holds 200 '.data.status == "queued"'
    run=$(jq --raw-output .data.run_id "$scratch/answer")
}

chapter "Replay and rebuild"
begin '{"mode":"replay","projection_name":"all","reason":"the tour"}'
until_holds '.data.status == "completed"' GET "/v1/runs/$run"
begin '{"mode":"rebuild","projection_name":"all","reason":"the tour","dry_run":true}'
until_holds '.data.status == "completed" and .data.is_equal' GET "/v1/runs/$run"
ask POST /v1/runs --header "$json" --data '{"mode":"rebuild","projection_name":"all","reason":" "}'
holds 400 '.error.code == "invalid_argument"'
# A run may be quicker than we are; the next one is not.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    begin '{"mode":"rebuild","projection_name":"all","reason":"to be cancelled"}'
    ask POST "/v1/runs/$run/cancel"
    [ "$status" = 200 ] && break
    holds 409 '.error.code == "conflict"'
    [ "$attempt" -lt 10 ] || fail "no run could be cancelled before its end"
done
until_holds '.data.status == "cancelled"' GET "/v1/runs/$run"
ask POST "/v1/runs/$run/resume"
holds 200 '.data.status == "queued"'
until_holds '.data.status == "completed"' GET "/v1/runs/$run"
ask GET '/v1/runs?status=completed&limit=100'
holds 200 '[.data[].run_id] | index($run) != null' --arg run "$run"
ask GET '/v1/runs?all=true&limit=1'
holds 200 '.data | length == 1'

chapter "What live views show: the last seconds, and who lags most"
ask GET '/v1/history?limit=10'
holds 200 '(.data | length) > 0 and all(.data[]; .database == "up")'
ask GET '/v1/lag?limit=10'
holds 200 '.data | type == "array"'

chapter "Watch for a moment"
target='/v1/watch?kind=database,run,progress'
printf '  GET %s\n' "$target"
curl --silent --no-buffer --max-time 1 --unix-socket "$socket" "http://dg$target" >"$scratch/watched" || true
head -n 1 "$scratch/watched" | jq --exit-status '.kind == "picture"' >/dev/null ||
    fail "what is watched does not begin with a picture: $(head -n 1 "$scratch/watched")"

chapter "The description of all of it"
ask GET /v1/openapi.json
holds 200 '.openapi == "3.1.0" and (.paths | length) > 15'

if [ "$address" != off ]; then
    chapter "For those who watch: the loopback listener"
    for path in healthz readyz metrics; do
        printf '  http://%s/%s\n' "$address" "$path"
        curl --silent --show-error --fail --max-time 60 --output "$scratch/$path" "http://$address/$path" ||
            fail "/$path did not answer well: $(cat "$scratch/$path")" "name the address of metrics_listen as the second argument, or off"
    done
    grep -q '^decisiongraph_build_info' "$scratch/metrics" || fail "there is no decisiongraph_build_info"
fi

chapter "That was all. What it wrote is in the tenants $own and $own-copy."
