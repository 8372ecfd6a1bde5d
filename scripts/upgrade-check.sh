#!/usr/bin/env bash
# Installs the deb and the rpm of bin/package in a Debian in a folder, upgrades them to a next version with other settings,
# and removes them: what an operator has written stays, and nothing else does. scripts/upgrade-check.sh ROOT ARCH;
# `make package-check` runs it. No systemd runs there, so that only the files and their units are checked.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1 arch=$2
. scripts/release-env.sh
command -v rpm >/dev/null || {
	. scripts/debian.sh
	install rpm https://rpm.org rpm
}
next=$(mktemp -d)
trap 'rm -rf "$next"' EXIT
die() { echo "upgrade-check: $kind: $*" >&2; exit 1; }
quiet() { "$@" >"$next/said.txt" 2>&1 || { cat "$next/said.txt" >&2; die "$*"; }; } # says something if it fails

# The next version has the same programs; each of its settings' files has one more line.
mkdir -p "$next/bin/package"
cp -r deploy LICENSE CHANGELOG.md "$next/"
cp -r bin/package/completions bin/package/man bin/package/THIRD-PARTY.txt "$next/bin/package/"
ln -s "$PWD/bin/package/linux_$arch" "$next/bin/package/stage"
for settings in "$next"/deploy/systemd/env/*.env; do echo '# of the next version' >>"$settings"; done
nfpm=$(go tool -n -modfile=tools/release/go.mod nfpm)
for kind in deb rpm; do
	quiet env -C "$next" VERSION=99.0.0 ARCH="$arch" "$nfpm" package --config deploy/packages/nfpm.yaml --packager $kind --target "$next"
done

# No package in a Debian provides what the rpm recommends.
rpmed() { quiet rpm --root "$root" --nodeps "$@"; }
etc=$root/etc/fanmail

written() { # what an operator writes
	echo '# of the operator' >>"$etc/ingest.env"
	echo secret >"$etc/credentials/api/database-url"
}
installed() { # VERSION
	local found
	found=$(chroot "$root" systemd-analyze verify --man=no fanmail.target fanmail-{publisher,dispatcher,ingest,api,maintain}.service 2>&1) && [ -z "$found" ] || die "systemd-analyze verify: $found"
	[ "$(stat -c '%a %U:%G' "$etc/credentials" "$etc"/credentials/* | sort -u)" = '700 root:root' ] || die 'others may read credentials'
	[ "$(stat -c '%a %U:%G' "$etc"/*.env "$root"/usr/lib/systemd/system/fanmail-*.service | sort -u)" = '644 root:root' ] || die 'settings or units have other rights'
	chroot "$root" fanmail version | grep -q '^fanmail ' || die 'the command does not run'
}
kept() {
	grep -q 'of the operator' "$1" || die "a setting of the operator is lost, which should be in $1"
	[ "$(cat "$etc/credentials/api/database-url")" = secret ] || die 'a credential is lost'
}
upgraded() { # FILE: where the next version's settings are that the operator has changed
	kept "$etc/ingest.env"
	grep -q 'of the next version' "$1" || die "$1 is missing"
	grep -q 'of the next version' "$etc/api.env" || die 'settings that nobody has changed are those of the old version'
}
gone() {
	local left
	left=$(find "$root/usr" "$root/etc/systemd" -iname '*fanmail*')
	[ -z "$left" ] || die "the removal leaves $left"
}

kind=deb
cp bin/package/fanmail_*_"$arch".deb "$root/old.deb"
cp "$next"/*.deb "$root/next.deb"
quiet chroot "$root" dpkg --install old.deb
installed
written
quiet chroot "$root" dpkg --install --force-confdef --force-confold next.deb
installed
upgraded "$etc/ingest.env.dpkg-dist"
quiet chroot "$root" dpkg --remove fanmail
gone
kept "$etc/ingest.env"
quiet chroot "$root" dpkg --purge fanmail
[ ! -e "$etc" ] || die "the purge leaves $etc"

kind=rpm
rpmed --install bin/package/fanmail-*.rpm
rpmed --verify fanmail
installed
written
rpmed --upgrade "$next"/*.rpm
installed
upgraded "$etc/ingest.env.rpmnew"
rpmed --erase fanmail
gone
kept "$etc/ingest.env.rpmsave"
echo '✓ upgrades and removals of deb and rpm keep what an operator has written'
