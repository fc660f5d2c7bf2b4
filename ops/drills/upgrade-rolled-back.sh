#!/usr/bin/env bash
# A release turns out to be bad after it has moved the schema and taken events; the one before comes
# back with its backup, and no event is lost.
. "$(dirname "$0")/lib.sh"

own_postgres
next_release
load
known=$(schema)
export BACKUP=$work/before.dump SINCE=$work/since
page upgrade "First checks"
page upgrade "Upgrade"
[ "$(schema)" -gt "$known" ] ||
    fail "$name: the upgrade has not moved the schema"
more_events 3
before=$(proof)

clock
page upgrade "Going back"
page restore "From a dump"
page upgrade "What came since"
until_current
page upgrade "It is over when"
recovered
same "rows and digests" "$before" "$(proof)"
passed
