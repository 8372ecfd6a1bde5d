#!/bin/sh
# Prints the directory of prometheus and promtool. If they are not on the PATH, it downloads the Debian
# package and unpacks it in .fanmail/prometheus, without installing it.
set -eu
cd "$(dirname "$0")/.."
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
	dirname "$(command -v promtool)"
	exit
fi
dir=$PWD/.fanmail/prometheus
if [ ! -x "$dir/usr/bin/promtool" ]; then
	command -v apt-get >/dev/null || { echo 'prometheus and promtool are not on the PATH: install them (macOS: brew install prometheus)' >&2; exit 1; }
	mkdir -p "$dir"
	(cd "$dir" && apt-get download -q prometheus >&2) || {
		[ "$(id -u)" -eq 0 ] || { echo 'downloading the package prometheus failed: run "sudo apt-get update" and try again, or install prometheus' >&2; exit 1; }
		apt-get update -q >&2
		(cd "$dir" && apt-get download -q prometheus >&2)
	}
	dpkg -x "$dir"/prometheus_*.deb "$dir"
	rm "$dir"/prometheus_*.deb
fi
echo "$dir/usr/bin"
