#!/usr/bin/env bash
# Runs the sh blocks of docs/tutorials/quickstart.md, unchanged and in order, in one shell and an
# empty directory. API and SMTP listen on free ports.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/fanmail-quickstart-XXXXXX")
chmod 755 "$dir" # the user of the Postgres process needs access
pid=
finish() {
	code=$?
	if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then kill "$pid" 2>/dev/null || true; fi
	[ $code -eq 0 ] || { echo "quickstart: FAILED; the last lines of up.log:" >&2; tail -n 20 "$dir/up.log" >&2 || true; }
	rm -rf "$dir"
}
trap finish EXIT

{
	echo 'set -euxo pipefail'
	# Stop the background processes of the steps at the end.
	echo 'trap "jobs -p | xargs -r kill 2>/dev/null || true; wait" EXIT'
	sed -n '/^```sh$/,/^```$/{/^```/d;p;}' "$root/docs/tutorials/quickstart.md"
} > "$dir/steps.sh"
grep -q 'fanmail send' "$dir/steps.sh" || { echo "quickstart: no sh blocks with fanmail send found in docs/tutorials/quickstart.md" >&2; exit 1; }

cd "$dir"
export PATH="$root/bin:$PATH" FANMAIL_API_ADDR=127.0.0.1:0 FANMAIL_SMTP_ADDR=127.0.0.1:0
unset FANMAIL_DIR FANMAIL_API FANMAIL_KEY FANMAIL_SMTP FANMAIL_DATABASE_URL FANMAIL_NATS_URL
timeout --kill-after=40 "${QUICKSTART_TIMEOUT:-180}" bash steps.sh &
pid=$!
wait "$pid"
echo "✓ docs/tutorials/quickstart.md works as written"
