#!/usr/bin/env bash
# A game day: an installation of its own that breaks in a way nobody is told, to be mended by the
# pages of ops/runbooks. Nothing outside its directory is touched.
#
#   ops/accident.sh prepare DIR [--seed N]   a Postgres, a daemon with three tenants, a backup
#   ops/accident.sh strike DIR [NAME]        breaks it, and says no more than a pager would
#   ops/accident.sh check DIR                whether all is well again (exit 1: it is not)
#   ops/accident.sh reveal DIR               what it was, and which page mends it
#   ops/accident.sh end DIR                  stops everything and removes DIR
#   ops/accident.sh list                     the names of the accidents
#
# `. DIR/env` gives a shell what an operator has: decisiongraph, psql, and stand-ins for systemctl
# and journalctl. DECISIONGRAPH names the binary [target/debug/decisiongraph]. The same seed strikes
# in the same order; no accident comes again before each has come.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
. "$project/ops/lib.sh"
. "$project/ops/accidents.sh"
tenants="northwind-retail harbor-bank aurora-support"
quiet() { "$@" >/dev/null 2>&1; }

# --- the installation ----------------------------------------------------------------------------

# Postgres does not run as root: it gets the user `postgres` then, or `nobody`.
as_postgres() {
    [ "$(id -u)" -eq 0 ] || { "$@" && return; }
    HOME=$dir setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --clear-groups -- "$@"
}

postgres_programs() {
    local candidate
    for candidate in "$(pg_config --bindir 2>/dev/null)" $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -Vr); do
        [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ] && echo "$candidate" && return 0
    done
    candidate=$(command -v initdb) && dirname "$(readlink -f "$candidate")"
}

# All names of an installation, from its directory alone.
places() {
    dir=$(realpath -m "$1") game=$dir/.game config=$dir/config.toml
    postgres_user=$(id -un)
    if [ "$(id -u)" -eq 0 ]; then
        postgres_user=postgres
        quiet id -u postgres || postgres_user=nobody
    fi
}

# An installation that is there, as its operator sees it.
enter() {
    places "$1"
    [ -f "$dir/env" ] || fail "no game is prepared in $dir" "ops/accident.sh prepare $dir"
    . "$dir/env"
    cd "$dir"
}

configuration() {
    printf '%s\n' "database_url = \"$DB_URL\"" "data_dir = \"$dir/state\"" \
        "socket_path = \"$dir/state/decisiongraph.sock\"" 'metrics_listen = "off"' \
        'digest_idle_ms = 200' 'storage_timeout_ms = 3000' 'projection_retry_max_ms = 2000' >"$config"
}

operators_shell() {
    local binary stand_in variable
    binary=$(realpath -e "${DECISIONGRAPH:-$project/target/debug/decisiongraph}") ||
        fail "there is no binary to break" "cargo build -p dg-admin, or name one in DECISIONGRAPH"
    mkdir "$dir/bin" "$dir/state" "$game"
    ln -s "$binary" "$dir/bin/decisiongraph"
    for stand_in in systemctl journalctl; do
        printf '#!/bin/sh\nexec %q %s %q "$@"\n' "$project/ops/accident.sh" "$stand_in" "$dir" >"$dir/bin/$stand_in"
    done
    chmod 755 "$dir"/bin/*
    {
        for variable in $(compgen -e | grep -E '^(DECISIONGRAPH_|PG|DATABASE_URL$)' || true); do
            echo "unset $variable"
        done
        printf 'export %s=%q\n' DECISIONGRAPH_CONFIG "$config" PGDATA "$dir/volume/main" BACKUP "$dir/backup/dg.dump" \
            ADMIN_URL "host=$dir/run user=postgres dbname=postgres" DB_URL "host=$dir/run user=dg dbname=dg" \
            RESTORED_URL "host=$dir/run user=dg dbname=dg_restored" QUARANTINE "$dir/backup/quarantine.dump" \
            SINCE "$dir/since"
        printf 'export PATH=%q:%q:$PATH\n' "$dir/bin" "$(postgres_programs)"
    } >"$dir/env"
}

own_postgres() {
    mkdir "$dir/volume"
    # A volume of its own can be filled without harm; that takes the right to mount.
    quiet mount -t tmpfs -o size=256m,mode=755 accident "$dir/volume" || true
    install -d -m 700 -o "$postgres_user" "$PGDATA" "$dir/run"
    as_postgres initdb -D "$PGDATA" -U postgres --auth=trust -E UTF8 --locale=C --no-sync >"$game/initdb.log"
    printf '%s\n' "unix_socket_directories = '$dir/run'" "listen_addresses = ''" "shared_buffers = 32MB" \
        "max_connections = 40" "max_wal_size = 64MB" "fsync = off" |
        as_postgres tee -a "$PGDATA/postgresql.conf" >/dev/null
    start_postgres
    psql -q "$ADMIN_URL" -c 'CREATE ROLE dg LOGIN' \
        -c "CREATE DATABASE dg OWNER dg ENCODING 'UTF8' TEMPLATE template0"
}

start_postgres() { as_postgres pg_ctl -D "$PGDATA" -l "$PGDATA/server.log" -w start >/dev/null; }
stop_postgres() { as_postgres pg_ctl -D "$PGDATA" -m "${1:-fast}" -w stop >/dev/null; }

# The daemons of this game by their process ids, whoever started them: those with this configuration.
daemons() {
    local process binary
    for process in /proc/[0-9]*; do
        binary=$(readlink "$process/exe") # which may have been built anew
        [ "${binary% (deleted)}" = "$(realpath "$dir/bin/decisiongraph")" ] || continue
        tr '\0' '\n' <"$process/environ" | grep -qx "DECISIONGRAPH_CONFIG=$1" || continue
        ! tr '\0' '\n' <"$process/cmdline" | grep -qx serve || echo "${process#/proc/}"
    done 2>/dev/null
}

# Ends daemons with a signal, and waits until they are gone.
end_daemons() {
    local process
    for process in $(daemons "$1"); do
        kill "-$2" "$process" 2>/dev/null || true
        eventually "process $process ends" is_gone "$process"
    done
}
is_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# As under systemd: until it is ready. One that ends at once has not started.
start_daemon() {
    DECISIONGRAPH_CONFIG=$1 setsid decisiongraph serve >>"${1%.toml}.log" 2>&1 </dev/null &
    local process=$!
    eventually "the daemon is ready or has ended" is_settled "$process" "$1"
    ! is_gone "$process" || fail "the daemon has ended" "journalctl -u decisiongraph"
}
is_settled() { is_gone "$1" || DECISIONGRAPH_CONFIG=$2 quiet timeout 5 decisiongraph health --all-tenants; }

patience=60
eventually() {
    local what=$1 deadline=$((SECONDS + patience))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what: not within $patience s"
        sleep 0.05
    done
}
is_current() { quiet decisiongraph health --check --all-tenants; }

# What is the same of a tenant however often it is restored or sent again: its first events.
first_events() {
    decisiongraph export -t "$1" | head -n "$2" | sed 's/"recorded_at":"[^"]*"//' | sha256sum
}

prepare() {
    places "$1"
    [ ! -e "$dir" ] || fail "$dir is there already" "ops/accident.sh end $dir, or name another directory"
    [ "${#dir}" -le 75 ] || fail "$dir is too long a name for sockets" "name one below /tmp"
    need_postgres
    mkdir -p "$dir"
    operators_shell
    echo "$2" >"$game/seed" && touch "$game/had"
    enter "$1"
    own_postgres
    configuration
    start_daemon "$config"
    load
    echo "prepared. The operator's shell: . $dir/env; then ops/accident.sh strike $dir"
}

load() {
    local tenant count
    mkdir sent export backup
    for tenant in $tenants; do
        cp "$project/ops/sample/$tenant.jsonl" sent/
        quiet decisiongraph import "sent/$tenant.jsonl" -t "$tenant"
        decisiongraph export -t "$tenant" >"export/$tenant.jsonl"
        count=$(wc -l <"sent/$tenant.jsonl")
        echo "$tenant $count $(first_events "$tenant" "$count")" >>"$game/logs"
    done
    eventually "the projections come up to the log" is_current
    pg_dump --format=custom --file="$BACKUP" "$DB_URL"
}

# --- the accident --------------------------------------------------------------------------------

strike() {
    enter "$1"
    [ ! -f "$game/struck" ] || fail "one accident at a time" "mend it, and ops/accident.sh check $dir"
    local name=${2:-}
    RANDOM=$(($(cat "$game/seed") + 31 * $(wc -l <"$game/had")))
    [ -n "$name" ] || name=$(one_of $(not_had))
    quiet declare -F "accident_$name" || fail "there is no accident $name" "ops/accident.sh list"
    can_strike "$name" || fail "$name needs the right to mount"
    tenant=$(one_of $tenants)
    rm -rf "$SINCE" "$QUARANTINE" # of the accident before
    echo "$name" >>"$game/had"
    echo "$name" >"$game/struck"
    "accident_$name"
}

one_of() { local choice=$((RANDOM % $# + 1)); echo "${!choice}"; }

names() { declare -F | sed -n 's/^declare -f accident_//p'; }

# Those to choose from: when each has been had, all of them again.
not_had() {
    local name left=""
    for name in $(names); do
        ! can_strike "$name" || grep -qx "$name" "$game/had" || left+=" $name"
    done
    [ -n "$left" ] || { : >"$game/had" && left=$(not_had); }
    echo "$left"
}

can_strike() { [ "$1" != disk_full ] || mountpoint -q "$dir/volume"; }

was() { printf '%s\nThe page: ops/runbooks/%s.md\n' "$2" "$1" >"$game/was"; }
pager() { printf '%s\n' "$@"; }

reveal() {
    enter "$1"
    [ -f "$game/was" ] || fail "nothing has struck yet"
    cat "$game/was"
}

# --- whether all is well -------------------------------------------------------------------------

wrong=${wrong:-0} # judged by another process each, which are told
judge() {
    local what=$1 output
    shift
    if output=$(wrong=$wrong timeout 120 "$project/ops/accident.sh" ask "$dir" "$@" 2>&1); then echo "ok      $what"; else
        wrong=1
        printf 'WRONG   %s\n' "$what"
        printf '%s\n' "$output" | tail -n 12 | sed 's/^/        /'
    fi
}

check() {
    enter "$1"
    local tenant count hash
    judge "the configuration is valid" decisiongraph config check
    judge "one daemon answers, and is alone" is_alone
    while read -r tenant count hash; do
        [ "$wrong" = 0 ] || break
        judge "$tenant: an append is taken and seen" takes_an_append "$tenant"
        judge "$tenant: its log begins as before" is_as_before "$tenant" "$count" "$hash"
    done <"$game/logs"
    judge "doctor finds nothing that failed" decisiongraph doctor
    judge "doctor --recovered" recovers
    [ "$wrong" = 0 ] || exit 1
    rm -f "$game/struck"
    echo "all is well"
}

is_alone() {
    local status
    status=$(decisiongraph status) && ! grep '^warning' <<<"$status"
}

sends_a_trace() { decisiongraph generate --traces 1 --seed "$2" | decisiongraph import - -t "$1"; }
takes_an_append() {
    # A daemon may need a moment to find its database again.
    patience=5 eventually "an append to $1 is taken" quiet sends_a_trace "$1" "$(date +%s%N)"
    patience=5 eventually "the projections of $1 come up to the log" quiet decisiongraph health --check -t "$1"
}

# Digests come up when a projection is at rest.
recovers() {
    local tries
    [ "$wrong" = 1 ] || for tries in {1..40}; do ! quiet decisiongraph doctor --recovered || break; sleep 0.1; done
    decisiongraph doctor --recovered
}

is_as_before() { [ "$(first_events "$1" "$2")" = "$3" ] || fail "the first $2 events of $1 are others than before"; }

# --- stand-ins for what an installed machine has ---------------------------------------------------

systemctl() {
    case "$*" in
    "status decisiongraph") told_of decisiongraph "$(daemons "$config")" ;;
    "status postgresql") told_of postgresql "$(as_postgres pg_ctl -D "$PGDATA" status 2>/dev/null | sed -n 's/.*PID: \([0-9]*\).*/\1/p')" ;;
    "start decisiongraph" | "enable --now decisiongraph") [ -n "$(daemons "$config")" ] || start_daemon "$config" ;;
    "stop decisiongraph" | "disable --now decisiongraph") end_daemons "$config" TERM ;;
    "restart decisiongraph") end_daemons "$config" TERM && start_daemon "$config" ;;
    "start postgresql") start_postgres ;;
    "stop postgresql") stop_postgres ;;
    "restart postgresql") stop_postgres && start_postgres ;;
    "reset-failed decisiongraph") ;;
    *) fail "systemctl $* has no stand-in" ;;
    esac
}

# The few words of a status that the pages ask for.
told_of() {
    [ -z "$2" ] || { printf '* %s.service\n     Active: active (running)\n   Main PID: %s\n' "$1" "$2" && return 0; }
    printf '* %s.service\n     Active: inactive (dead)%s\n' "$1" "$(cat "$game/$1.ended" 2>/dev/null)"
    return 3
}

# The last lines of a unit's log (-n), or those that match (-g); the kernel has no log here.
journalctl() {
    local option unit=decisiongraph lines=1000 pattern=. log
    while getopts 'u:n:g:kexp:S:' option; do
        case $option in
        u) unit=$OPTARG ;;
        n) lines=$OPTARG ;;
        g) pattern=$OPTARG ;;
        k) unit=kernel ;;
        *) ;;
        esac
    done
    case $unit in
    decisiongraph) log=$dir/config.log ;;
    postgresql) log=$PGDATA/server.log ;;
    *) echo "-- No entries --" && return 0 ;;
    esac
    grep -E -- "$pattern" "$log" | tail -n "$lines" || true
}

finish() {
    enter "$1"
    cd /
    end_daemons "$config" KILL
    end_daemons "$dir/other.toml" KILL
    quiet stop_postgres immediate || true
    ! mountpoint -q "$dir/volume" || umount "$dir/volume"
    rm -rf "$dir"
}

usage() { fail "${1:-this takes a command and a directory}" "see the head of ops/accident.sh"; }

command=${1:-}
[ "$command" = list ] || [ $# -ge 2 ] || usage
case $command in
list) names ;;
prepare)
    [ $# -eq 2 ] || [ "$3" = --seed ] || usage "$3 is not known"
    [[ ${4-0} =~ ^[0-9]+$ ]] || usage "a seed is a number"
    prepare "$2" "${4-$RANDOM}"
    ;;
strike) strike "$2" "${3-}" ;;
check) check "$2" ;;
reveal) reveal "$2" ;;
end) finish "$2" ;;
ask | systemctl | journalctl) # for itself
    enter "$2"
    [ "$command" = ask ] || set -- ask "$2" "$command" "${@:3}"
    "${@:3}"
    ;;
*) usage "$command is not known" ;;
esac
