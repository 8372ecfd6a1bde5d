#!/usr/bin/env bash
# Checks the units in deploy/systemd with systemd's own tools, which need no running systemd: nothing in them is unknown to
# it, and no process is exposed. `make package-check` runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v systemd-analyze >/dev/null || {
	. scripts/debian.sh
	install systemd https://systemd.io systemd
}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
units=$root/usr/lib/systemd/system
mkdir -p "$units" "$root/usr/lib/fanmail" "$root/usr/bin"
cp /usr/lib/systemd/system/*.target "$units/" 2>/dev/null || cp /lib/systemd/system/*.target "$units/"
cp -r deploy/systemd/*.service deploy/systemd/*.target deploy/systemd/*.d "$units/"
for program in lib/fanmail/publisher lib/fanmail/dispatcher lib/fanmail/ingest lib/fanmail/api bin/fanmail; do
	command install -m 755 /bin/true "$root/usr/$program"
done
services=(fanmail-{publisher,dispatcher,ingest,api,maintain}.service)
# systemd-analyze ends with 0 also if it found something.
found=$(systemd-analyze verify --man=no --root="$root" fanmail.target "${services[@]}" 2>&1)
[ -z "$found" ] || {
	printf '%s\n' "$found" | sed "s|$units/|deploy/systemd/|" | sort -u
	exit 1
}
for s in "${services[@]}"; do
	# In tenths; the least that systemd calls exposed is 50.
	said=$(systemd-analyze security --offline=true --root="$root" --threshold=20 --no-pager "$s") || {
		printf '%s\n' "$said"
		exit 1
	}
	printf '%s\n' "$said" | tail -n 1
done
