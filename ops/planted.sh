#!/usr/bin/env bash
# Whether the failure-injection harness finds bugs: each of tests/planted/*.patch is put into a copy of
# the tree, built, and the scenario that its header names is run with so many seeds.
#
#   ops/planted.sh [--seeds N] [--share PERCENT] [--jobs N] [--control] [--json] [NAME...]
#
#   --seeds N        seeds of each, 1 to N (default 10)
#   --share PERCENT  fails where a bug is found in fewer of them (default 50)
#   --jobs N         scenarios at a time (default 2)
#   --control        the scenarios of the chosen bugs with nothing planted, instead: all must hold
#   --json           an object a bug instead of the table
#   NAME...          the bugs whose names contain one of these; all if none is given
#
# Exits 1 where a bug is missed, or a control does not hold. Everything is below target/planted; what
# was built stays there, so that the next time is quicker.
set -euo pipefail
cd "$(dirname "$0")/.."
. ops/lib.sh

seeds=10 share=50 jobs=2 control="" json="" names=()
while [ $# -gt 0 ]; do
    case $1 in
        --seeds | --share | --jobs)
            [[ ${2-} =~ ^[1-9][0-9]*$ ]] || fail "$1 wants a number from 1"
            declare "${1#--}=$2"
            shift
            ;;
        --control) control=yes ;;
        --json) json=yes ;;
        -*) fail "there is no $1" "the head of $0 tells what there is" ;;
        *) names+=("$1") ;;
    esac
    shift
done
[ "$share" -le 100 ] || fail "--share is of 100"

need_rust
need_postgres
want jq jq
want git git
for program in jq git; do
    command -v $program >/dev/null || fail "$program was not found" "install it, then run this again"
done

patches=()
for patch in tests/planted/*.patch; do
    if [ ${#names[@]} -eq 0 ]; then
        patches+=("$patch")
        continue
    fi
    for name in "${names[@]}"; do
        [[ ${patch##*/} != *"$name"* ]] || { patches+=("$patch") && break; }
    done
done
[ ${#patches[@]} -gt 0 ] || fail "no bug has such a name" "ls tests/planted"

scenario_of() { sed -n 's/^Scenario: //p' "$1"; }

# A copy of the tree as it is, below which only what a patch touches changes: builds are incremental.
work=$PWD/target/planted
tree=$work/tree
mkdir -p "$tree"
copied=$(mktemp)
git ls-files -co --exclude-standard | while read -r file; do
    [ ! -f "$file" ] || printf '%s\n' "$file"
done >"$copied"
(cd "$tree" && find . -type f -printf '%P\n') | { grep -vxFf "$copied" || true; } | while read -r gone; do
    rm -f "$tree/$gone"
done
while read -r file; do
    cmp -s "$file" "$tree/$file" || { mkdir -p "$(dirname "$tree/$file")" && cp "$file" "$tree/$file"; }
done <"$copied"
rm -f "$copied"

planted=""
runs=$(mktemp -d "$work/runs.XXXXXX")
clean() {
    [ -z "$planted" ] || git_in_tree apply -R "$planted" || true
    rm -rf "$runs"
}
trap clean EXIT
trap 'exit 130' INT TERM
# The copy is no repository of its own: paths are taken as they are.
git_in_tree() { (cd "$tree" && GIT_DIR=/nonexistent git "$@"); }

tell() { [ -n "$json" ] || printf '%s\n' "$*"; }
row() { tell "$(printf '%-32s %-16s %9s %9s  %s' "$@")"; }

# Builds what is in the tree and runs a scenario of it with every seed.
outcomes() {
    local scenario=$1 bin=$runs/bin
    CARGO_TARGET_DIR=$work/build cargo build --manifest-path "$tree/Cargo.toml" -p dg-tests --bins \
        --locked --quiet 2>"$runs/build.log" || { cat "$runs/build.log" >&2; fail "it does not build"; }
    mkdir -p "$bin"
    cp "$work"/build/debug/{faults,decisiongraph-under-test,test-postgres} "$bin"
    rm -f "$runs"/*.json
    seq "$seeds" | xargs -P "$jobs" -I{} sh -c \
        "RUST_BACKTRACE=0 timeout 900 '$bin/faults' --only '$scenario' --seed {} --no-shrink --json >'$runs/{}.json' 2>'$runs/{}.log' || true"
    for seed in $(seq "$seeds"); do
        # One that came to nothing, not even a verdict, has found nothing.
        if [ -s "$runs/$seed.json" ]; then cat "$runs/$seed.json"; else
            printf 'seed %s of %s came to nothing: %s\n' "$seed" "$scenario" \
                "$(grep -v '^$' "$runs/$seed.log" | tail -n 3 | tr '\n' ' ')" >&2
            printf '{"violations":[],"first_violation_seconds":null}\n'
        fi
    done
    rm -rf "$bin"
}

# What the outcomes of a bug come to: in how many seeds it was found, when, and by what for the most.
summary() {
    jq -sc --arg bug "$1" --arg scenario "$2" '
        map(select(.violations | length > 0)) as $found
        | ($found | map(.first_violation_seconds) | sort) as $times
        | {bug: $bug, scenario: $scenario, seeds: length, found: ($found | length),
           median_seconds: $times[($times | length) / 2 | floor],
           violations: ($found | map(.violations[0]) | group_by(split(" ")[:5] | map(gsub("[0-9]+"; "#")))
               | sort_by(-length) | map({violation: .[0], seeds: length}))}'
}

# One line about a bug or a control; whether it is as it should be.
report() {
    local bug=$1 scenario=$2 is_control=${3-} found
    outcomes "$scenario" >"$runs/outcomes"
    summary "$bug" "$scenario" <"$runs/outcomes" >"$runs/summary"
    if [ -n "$json" ]; then cat "$runs/summary"; fi
    found=$(jq .found "$runs/summary")
    row "$bug" "$scenario" "$found of $seeds" "$(jq -r '.median_seconds // "-" | if type == "number" then . * 10 | round / 10 else . end' "$runs/summary")" \
        "$(jq -r '.violations[0].violation // "-"' "$runs/summary" | cut -c1-90)"
    if [ -n "$is_control" ]; then [ "$found" -eq 0 ]; else
        [ "$found" -gt 0 ] && [ $((found * 100)) -ge $((share * seeds)) ]
    fi
}

missed=()
row BUG SCENARIO FOUND SECONDS VIOLATION
if [ -n "$control" ]; then
    for scenario in $(for patch in "${patches[@]}"; do scenario_of "$patch"; done | sort -u); do
        report "(nothing planted)" "$scenario" control || missed+=("nothing planted, $scenario")
    done
    patches=()
fi
for patch in "${patches[@]}"; do
    bug=$(basename "$patch" .patch)
    git_in_tree apply "$PWD/$patch" || fail "$patch does not apply any more" "write it anew: its head says what the bug is"
    planted=$PWD/$patch
    report "$bug" "$(scenario_of "$patch")" || missed+=("$bug")
    git_in_tree apply -R "$planted"
    planted=""
done
[ ${#missed[@]} -eq 0 ] || fail "not as it should be: $(printf '%s; ' "${missed[@]}")"
