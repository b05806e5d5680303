# The first process of a fleet's own namespaces. $1: the directory of images; $2: the address of the bridge.
# Lives until its standard input ends, which is when the test ends, however that happens; with it go all
# processes, mounts and network interfaces of the fleet, for they exist in its namespaces only.
set -eu
# Images may be replaced by a newer setup while this fleet runs; a shared lock on each keeps it.
mkdir -p /run
mount -t tmpfs -o mode=755 fleet /run
mkdir -p /run/images /run/machines /run/netns
fd=3
for name in debian centos-layout; do
    image=$(readlink -f "$1/$name") || continue
    [ -d "$image" ] || continue
    eval "exec $fd<\"\$image\""
    flock -s "$fd"
    fd=$((fd + 1))
    mkdir "/run/images/$name"
    mount --bind "$image" "/run/images/$name"
    mount -o remount,bind,ro "/run/images/$name"
done
# systemd-nspawn leaves directories in /tmp when it is killed.
mount -t tmpfs fleet /tmp
# One cgroup hierarchy, version 2, whatever the host has: machines boot the same everywhere.
umount -R -l /sys/fs/cgroup
mount -t cgroup2 fleet /sys/fs/cgroup
ip link set lo up
ip link add fleet type bridge
ip addr add "$2/24" dev fleet
ip link set fleet up
echo ready
exec cat >/dev/null
