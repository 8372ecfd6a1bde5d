#!/usr/bin/env bash
# Installs the Debian package on a fresh Debian that boots systemd in a container (systemd-nspawn), sets Fanmail up with
# the commands of docs/how-to/install.md, and sends a mail that must arrive as a verified webhook. Then removes and purges
# the package. scripts/package-check.sh [DEB]: without DEB it makes the packages first, and upgrades and removes the deb
# and the rpm in a second folder. It needs root, and a network for debootstrap the first time; the container has loopback
# alone.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env=PATH,GOFLAGS,CGO_ENABLED,GOCACHE,GOMODCACHE,HOME "$0" "$@"
for tool in debootstrap systemd-nspawn; do
	command -v $tool >/dev/null || {
		. scripts/debian.sh
		install "debootstrap and systemd-nspawn" https://www.debian.org debootstrap systemd-container
	}
done

# The base is kept: it is the same for every run.
base=/var/cache/fanmail/bookworm
if [ ! -e "$base/.complete" ]; then
	echo '· a fresh Debian'
	rm -rf "$base"
	mkdir -p "$(dirname "$base")"
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,openssl,postgresql,zsh,fish,man-db \
		bookworm "$base" >"$base.log" 2>&1 || { tail "$base.log"; exit 1; }
	chroot "$base" apt-get clean
	touch "$base/.complete"
fi

arch=$(dpkg --print-architecture)
work=$(mktemp -d "${TMPDIR:-/tmp}/fanmail-package-XXXXXX")
finish() {
	code=$?
	[ $code -eq 0 ] || tail -n 60 "$work/console.log" "$work/walk.log" 2>/dev/null || true
	for root in root second; do
		mountpoint -q "$work/$root" && umount "$work/$root" || true
	done
	rm -rf "$work"
}
trap finish EXIT

# fresh NAME: a fresh Debian in the folder of that name.
fresh() {
	mkdir -p "$work/$1" "$work/$1.upper" "$work/$1.work"
	mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/$1.upper,workdir=$work/$1.work" "$work/$1"
}

deb=${1:-}
[ -n "$deb" ] || {
	echo '· the packages'
	scripts/packages.sh "$arch"
	deb=$(ls bin/package/fanmail_*_"$arch".deb)
	fresh second
	echo '· upgrade and removal'
	scripts/upgrade-check.sh "$work/second" "$arch"
}
fresh root
give=$work/root/root/give
mkdir -p "$give"
cp "$deb" "$give/fanmail.deb"
CGO_ENABLED=0 go build -trimpath -o "$give/" ./test/natsd
cp test/packages/walk.sh docs/how-to/install.md "$give/"
units=$work/root/etc/systemd/system
cp test/packages/walk.service "$units/"
mkdir -p "$units/multi-user.target.wants"
ln -sf ../walk.service "$units/multi-user.target.wants/walk.service"

echo '· set-up, a mail, removal'
# Where no systemd runs, none can be asked for a scope.
options=()
[ -d /run/systemd/system ] || options=(--register=no --keep-unit)
timeout --kill-after=20 900 systemd-nspawn --quiet --directory="$work/root" --machine="fanmail-package-$$" \
	--private-network --console=pipe --boot "${options[@]}" >"$work/console.log" 2>&1 </dev/null || true
cp "$work/root/root/walk.log" "$work/walk.log" 2>/dev/null || true
[ -e "$work/root/root/passed" ] || exit 1
grep '^·' "$work/walk.log"
echo '✓ docs/how-to/install.md works as written'
