#!/usr/bin/env bash
# Walks docs/tutorials/quickstart.md: runs its sh blocks, in their order and as they are
# written, in one shell and an empty folder. Ports are the machine's free ones.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/fanmail-quickstart-XXXXXX")
chmod 755 "$dir" # Postgres's user walks through it
walk=
finish() {
	code=$?
	if [ -n "$walk" ] && kill -0 "$walk" 2>/dev/null; then kill "$walk" 2>/dev/null || true; fi
	[ $code -eq 0 ] || { echo "quickstart: FAILED; the end of up.log:" >&2; tail -n 20 "$dir/up.log" >&2 || true; }
	rm -rf "$dir"
}
trap finish EXIT

{
	echo 'set -euxo pipefail'
	# What a step leaves running ends with the walk.
	echo 'trap "jobs -p | xargs -r kill 2>/dev/null || true; wait" EXIT'
	sed -n '/^```sh$/,/^```$/{/^```/d;p;}' "$root/docs/tutorials/quickstart.md"
} > "$dir/walk.sh"
grep -q 'fanmail send' "$dir/walk.sh" || { echo "quickstart: docs/tutorials/quickstart.md has no steps" >&2; exit 1; }

cd "$dir"
export PATH="$root/bin:$PATH" FANMAIL_API_ADDR=127.0.0.1:0 FANMAIL_SMTP_ADDR=127.0.0.1:0
unset FANMAIL_DIR FANMAIL_API FANMAIL_KEY FANMAIL_SMTP FANMAIL_DATABASE_URL FANMAIL_NATS_URL
timeout --kill-after=40 "${QUICKSTART_TIMEOUT:-180}" bash walk.sh &
walk=$!
wait "$walk"
echo "✓ docs/tutorials/quickstart.md works as written"
