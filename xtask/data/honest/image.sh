#!/bin/sh
# Makes the files of one machine out of the common base. It runs in a mount namespace of its own.
#   image.sh ROOT PACKAGES-FILE ANSWERS-FILE SCRIPT
set -eu
root=$1 packages=$2 answers=$3 script=$4
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
# The names that a transfer agent's package asks the resolver for.
printf '127.0.0.1 localhost\n127.0.1.1 guest.example.org guest\n10.9.9.25 mail.example.org example.org\n' >"$root/etc/hosts"
echo guest >"$root/etc/hostname"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
inside debconf-set-selections <"$answers"
inside apt-get -qq update
# shellcheck disable=SC2046 # Each word is a package.
inside apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends $(cat "$packages")
inside apt-get clean
inside sh -eu <"$script"
rm -rf "$root"/usr/sbin/policy-rc.d "$root"/var/lib/apt/lists/*
: >"$root/etc/resolv.conf"
