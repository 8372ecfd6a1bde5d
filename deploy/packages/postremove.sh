#!/bin/sh
# dpkg removes the files in /etc/fanmail at a purge, but not the credentials, which are no files of the package.
set -e
case $1 in
purge) rm -rf /etc/fanmail ;;
esac
[ ! -d /run/systemd/system ] || systemctl daemon-reload
