# Starts a private machine whose first process is systemd, and ends with it. Arguments: a directory
# for it, the binary, the units, and what it is called.
#
# A cgroup of its own, so that whatever systemd makes there can be found and removed afterwards.
set -eu
stage=$1 name=$4
cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
mkdir "$cgroup/$name"
echo $$ >"$cgroup/$name/cgroup.procs"
echo "$cgroup/$name" >"$stage/cgroup"
exec unshare --pid --fork --kill-child=KILL --mount --uts --ipc --net --cgroup \
    bash "$stage/boot.sh" "$@"
