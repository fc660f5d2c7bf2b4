# Starts a private machine whose first process is systemd, and ends with it. Arguments: a cgroup
# that is not there yet, a directory for the machine, and what more boot.sh takes.
#
# The cgroup is its own, so that whatever systemd makes there can be found and removed afterwards.
set -eu
cgroup=$1 stage=$2
shift
mkdir "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
exec unshare --pid --fork --kill-child=KILL --mount --uts --ipc --net --cgroup \
    bash "$stage/boot.sh" "$@"
