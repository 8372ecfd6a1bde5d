#!/bin/sh
# Says where prometheus and promtool are: on the PATH, or in .fanmail/prometheus,
# unpacked from Debian's package without installing it.
set -eu
cd "$(dirname "$0")/.."
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
	dirname "$(command -v promtool)"
	exit
fi
dir=$PWD/.fanmail/prometheus
if [ ! -x "$dir/usr/bin/promtool" ]; then
	command -v apt-get >/dev/null || { echo 'install prometheus, with promtool (macOS: brew install prometheus)' >&2; exit 1; }
	mkdir -p "$dir"
	(cd "$dir" && apt-get download -q prometheus >&2) || {
		[ "$(id -u)" -eq 0 ] || { echo 'prometheus could not be downloaded: run "sudo apt-get update", or install it' >&2; exit 1; }
		apt-get update -q >&2
		(cd "$dir" && apt-get download -q prometheus >&2)
	}
	dpkg -x "$dir"/prometheus_*.deb "$dir"
	rm "$dir"/prometheus_*.deb
fi
echo "$dir/usr/bin"
