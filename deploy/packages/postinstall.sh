#!/bin/sh
# Nothing is started or restarted: the schema is migrated before the processes of a new release run.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
