# Becomes a program of another root: $1 the root, $2 a folder that it shares, then the program. The
# mounts are this process's own and go with it.
set -eu
root=$1
shared=$2
shift 2
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec chroot "$root" "$@"
