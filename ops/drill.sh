#!/usr/bin/env bash
# Drills: `ops/drill.sh [NAME...]`, all without a name. Each is run by itself, whatever became of the one
# before; its log is shown when it fails. Exits 1 if one failed.
#
#   DRILL_TRACES   traces of 8 events in the log of each (500)
#   DRILL_BINARY   the binary to drill with; DRILL_LATER_BINARY: the one that stands for a later release
#                  (decisiongraph-under-test). Built, if not given
#   DRILL_RESULTS  a file for one line of JSON a drill
set -euo pipefail
cd "$(dirname "$0")/.."
. ops/lib.sh

all=()
for drill in ops/drills/*.sh; do [ "$drill" = ops/drills/lib.sh ] || all+=("$(basename "$drill" .sh)"); done
whole=""
[ $# -gt 0 ] || { whole=yes && set -- "${all[@]}"; }

need_postgres
want pgbackrest pgbackrest
if [ -z "${DRILL_BINARY-}" ]; then
    need_rust
    cargo build --locked --quiet -p dg-admin -p dg-tests --bins
fi
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export DRILL_RESULTS=${DRILL_RESULTS:-$logs/results} DRILL_RAN=$logs/ran
touch "$DRILL_RAN"

failed=0 skipped=0
printf '%-24s %8s %10s  %s\n' DRILL EVENTS RECOVERED OUTCOME
for drill; do
    [ -x "ops/drills/$drill.sh" ] || fail "there is no drill $drill" "there are ${all[*]}"
    status=0
    "ops/drills/$drill.sh" >"$logs/out" 2>"$logs/err" || status=$?
    case $status in
    0) printf '%-24s %8s %8s s  %s\n' "$drill" $(sed -nE 's/^passed: .*, ([0-9]+) events, recovered in ([0-9.]+) s$/\1 \2/p' "$logs/out") passed ;;
    77)
        skipped=$((skipped + 1))
        printf '%-24s %8s %10s  %s\n' "$drill" - - skipped
        grep '^SKIPPED: ' "$logs/out"
        ;;
    *)
        failed=$((failed + 1))
        printf '%-24s %8s %10s  %s\n' "$drill" - - FAILED
        cat "$logs/out" "$logs/err" >&2
        ;;
    esac
done

# A command of a page that no drill has run would be a wish.
if [ -n "$whole" ] && [ "$failed" -eq 0 ] && [ "$skipped" -eq 0 ]; then
    while IFS=: read -r file number mark; do
        awk -v from="$number" 'NR > from + 1 && /^```/ { exit } NR > from + 1 && /^(postgres\$|\$|#) / && $0 != "$ echo $?" { print NR }' "$file" |
            while read -r line; do
                grep -qx "$(basename "$file"):$line" "$DRILL_RAN" || echo "$file:$line: no drill has run this"
            done
    done < <(grep -n '^<!-- not run: ops/drills/' ops/runbooks/*.md) >"$logs/left"
    [ ! -s "$logs/left" ] || { cat "$logs/left" >&2 && failed=$((failed + 1)); }
fi
echo "$((${#} - failed - skipped)) passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
