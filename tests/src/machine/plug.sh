# Makes a machine's disk and its network, in the fleet's namespaces. $1: name; $2: the directory of its
# image; $3: address; $4: number; $5: "given" for a machine-id made from the name, "own" to leave the image's.
# The disk is the image with a layer above that lives as long as the fleet: a reboot finds what was written.
set -eu
disk=/run/machines/$1
mkdir -p "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay "$1" -o "lowerdir=$2,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
printf '%s\n' "$1" >"$disk/root/etc/hostname"
[ "$5" = own ] || printf '%s' "$1" | md5sum | cut -c1-32 >"$disk/root/etc/machine-id"
ip netns add "$1"
ip link add "port$4" type veth peer name host0 netns "$1"
ip link set "port$4" master fleet up
ip -n "$1" addr add "$3/24" dev host0
ip -n "$1" link set lo up
ip -n "$1" link set host0 up
