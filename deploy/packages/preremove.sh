#!/bin/sh
# dpkg says "remove" and rpm 0 when the package goes for good. An upgrade stops nothing.
set -e
case $1 in
remove | 0)
	[ ! -d /run/systemd/system ] || systemctl --quiet disable --now fanmail.target fanmail-publisher fanmail-dispatcher \
		fanmail-ingest fanmail-api fanmail-maintain || true
	;;
esac
