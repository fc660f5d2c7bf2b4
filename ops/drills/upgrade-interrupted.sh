#!/usr/bin/env bash
# An upgrade is killed in the middle of a step of the schema, before and after its commit; the next
# start goes on.
. "$(dirname "$0")/lib.sh"

own_postgres
next_release
load
before=$(proof) known=$(schema)
page upgrade "First checks"

systemctl stop decisiongraph
apt install "$NEW_PACKAGE"
for point in migration_before migration_after; do
    killed=0
    DECISIONGRAPH_TEST_FAILPOINTS="$point/later=kill" decisiongraph serve >>"$work/daemon.log" 2>&1 || killed=$?
    [ "$killed" -eq 137 ] || fail "$name: the upgrade was not killed at $point, but ended with $killed"
    version=$(schema)
    say "killed at $point: the schema has version $version"
    if [ "$point" = migration_before ]; then [ "$version" -eq "$known" ]; else [ "$version" -eq $((known + 1)) ]; fi ||
        fail "$name: a step is there in part"
done

clock
page upgrade "It was interrupted"
until_current
page upgrade "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
more_events 3
proof >/dev/null
passed
