# What demo.sh, package.sh and test.sh share. Sourced, not run.

# They run what they build, from where they build it: cargo's own settings may name another place,
# and an older binary would then be taken from here.
export CARGO_TARGET_DIR=target

fail() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2-}" ] || printf 'help: %s\n' "$2" >&2
    exit 1
}

need_rust() {
    command -v cargo >/dev/null 2>&1 ||
        fail "cargo was not found" "install a stable Rust toolchain (see https://rustup.rs), then run this again"
}

have_postgres() {
    local dir
    for dir in "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && return 0
    done
    command -v initdb >/dev/null 2>&1 && command -v postgres >/dev/null 2>&1
}

# Installs Debian's Postgres where there is none. The package would also make and start a cluster of
# its own, which nobody here needs.
need_postgres() {
    have_postgres && return 0
    command -v apt-get >/dev/null 2>&1 ||
        fail "no Postgres is installed" "install it (dnf install postgresql-server, brew install postgresql), then run this again"
    local as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 ||
            fail "no Postgres is installed" "as root: apt-get install postgresql"
        as_root=sudo
    fi
    echo "installing Postgres ..."
    $as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" |
        $as_root tee /etc/postgresql-common/createcluster.d/decisiongraph.conf >/dev/null
    $as_root apt-get update -qq >/dev/null || true # an old list may do
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq postgresql >/dev/null ||
        fail "Postgres could not be installed" "as root: apt-get install postgresql"
    have_postgres || fail "Postgres was installed but is not found"
}

# Installs a program's Debian package where there is none and that is easy; the tests that want it are
# skipped without.
want() {
    local program=$1 package=$2 as_root=""
    command -v "$program" >/dev/null 2>&1 && return 0
    command -v apt-get >/dev/null 2>&1 || return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || return 0
        as_root="sudo -n" # what may be left out is not worth a password
    fi
    echo "installing $package ..."
    $as_root apt-get update -qq >/dev/null 2>&1 || true # an old list may do
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$package" \
        >/dev/null 2>&1 || return 0
    # What the package starts of its own, nobody here needs.
    [ ! -d /run/systemd/system ] || $as_root systemctl disable --now --quiet "$package" 2>/dev/null || true
}
