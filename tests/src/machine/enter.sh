# Starts a private machine whose first process is systemd, and ends with it. Arguments: a directory
# for it, the binary, the units, what it is called, and a cgroup that is not there yet.
#
# The cgroup is its own, so that whatever systemd makes there can be found and removed afterwards.
set -eu
stage=$1 cgroup=$5
mkdir "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
exec unshare --pid --fork --kill-child=KILL --mount --uts --ipc --net --cgroup \
    bash "$stage/boot.sh" "$@"
