# Becomes systemd in namespaces of its own. The machine's files are the host's with an overlay of
# memory: nothing that is written here reaches the host, and nothing is left when it ends.
set -eu
stage=$1 name=$2 share=$3 binary=${4-} units=${5-}

mount --make-rprivate /
mkdir "$stage/machine" && mount -t tmpfs tmpfs "$stage/machine"
cd "$stage/machine"
mkdir upper work root devices
mount -t overlay overlay -o "lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work" root
cd root

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs var/log
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm && mount -t devpts devpts dev/pts && mount -t tmpfs -o mode=1777 tmpfs dev/shm
for node in null zero full random urandom tty; do
    touch "dev/$node" && mount --bind "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd && ln -s pts/ptmx dev/ptmx
touch dev/console && mount --bind "$stage/console" dev/console

[ -z "$share" ] || mount --bind "$share" mnt

# Installed by hand, as the README has it.
if [ -n "$binary" ]; then
    mkdir -p usr/bin etc/decisiongraph etc/systemd/system usr/lib/sysusers.d usr/lib/tmpfiles.d
    touch usr/bin/decisiongraph && mount --bind "$binary" usr/bin/decisiongraph
    cp "$units/config.toml" etc/decisiongraph/
    cp "$units/decisiongraph.service" "$units/decisiongraph.socket" etc/systemd/system/
    cp "$units/decisiongraph.sysusers" usr/lib/sysusers.d/decisiongraph.conf
    cp "$units/decisiongraph.tmpfiles" usr/lib/tmpfiles.d/decisiongraph.conf
fi
# Nothing else of this machine starts.
cat >etc/systemd/system/dgtest.target <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=systemd-journald.socket systemd-journald.service
UNIT
rm -f etc/machine-id && tr -d - <proc/sys/kernel/random/uuid >etc/machine-id
hostname "$name"

pivot_root . .
umount -l .
cd /
# Without this, credentials are not to be read.
mount --make-rshared /
if [ -n "$binary" ]; then
    systemd-sysusers decisiongraph.conf
    systemd-tmpfiles --create decisiongraph.conf
fi
export container=lxc
exec /lib/systemd/systemd --system --unit=dgtest.target --log-target=journal --show-status=no
