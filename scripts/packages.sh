#!/usr/bin/env bash
# Makes the packages for Debian and Red Hat in bin/package: scripts/packages.sh [ARCH...], amd64 and arm64 by default.
# The same commit gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- amd64 arm64
. scripts/release-env.sh
out=bin/package
rm -rf "$out"
mkdir -p "$out/completions"

for arch in "$@"; do
	GOOS=linux GOARCH=$arch deploy/build.sh "$out/linux_$arch"
done
# The command line itself writes its completions and manual pages.
host=$PWD/$out/$(go env GOHOSTOS)_$(go env GOHOSTARCH)
[ -d "$host" ] || deploy/build.sh "$host"
cli=$host/fanmail
for shell in bash zsh fish; do
	"$cli" completion --code $shell | sed "s|$cli|/usr/bin/fanmail|" >"$out/completions/fanmail.$shell"
done
# zsh loads the file when it completes for the first time, so it completes at once instead of registering itself.
{
	echo '#compdef fanmail'
	sed 's/^complete \(.*\) fanmail$/_bash_complete \1/' "$out/completions/fanmail.zsh"
} >"$out/completions/_fanmail"
rm "$out/completions/fanmail.zsh"
"$cli" man "$out/man"
gzip -9n "$out"/man/*
scripts/notices.sh "$host" >"$out/THIRD-PARTY.txt"

nfpm=$(go tool -n -modfile=tools/release/go.mod nfpm)
for arch in "$@"; do
	ln -sfn "linux_$arch" "$out/stage"
	for packager in deb rpm; do
		ARCH=$arch "$nfpm" package --config deploy/packages/nfpm.yaml --packager $packager --target "$out" >/dev/null
	done
done
rm "$out/stage"
ls -1 "$out"/fanmail*
