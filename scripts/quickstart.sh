#!/usr/bin/env bash
# Runs the sh blocks of a tutorial, unchanged and in order, in one shell and an empty directory.
# The page is docs/tutorials/quickstart.md, or the argument. API and SMTP listen on free ports. For
# a page about a domain, a DNS server on loopback has its records; SMTP listens on port 25 then if
# this user may open it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
page=${1:-docs/tutorials/quickstart.md}
dir=$(mktemp -d "${TMPDIR:-/tmp}/fanmail-quickstart-XXXXXX")
chmod 755 "$dir" # the user of the Postgres process needs access
pid='' dns='' publisher=''
finish() {
	code=$?
	for p in $pid $publisher $dns; do kill "$p" 2>/dev/null || true; done
	[ $code -eq 0 ] || { echo "$page: FAILED; the last lines of up.log:" >&2; tail -n 20 "$dir/up.log" >&2 || true; }
	rm -rf "$dir"
}
trap finish EXIT

{
	echo 'set -euxo pipefail'
	# Stop the background processes of the steps at the end.
	echo 'trap "jobs -p | xargs -r kill 2>/dev/null || true; wait" EXIT'
	sed -n '/^```sh$/,/^```$/{/^```/d;p;}' "$root/$page"
} > "$dir/steps.sh"
grep -q 'fanmail send' "$dir/steps.sh" || { echo "$page: no sh blocks with fanmail send found" >&2; exit 1; }

unset FANMAIL_DIR FANMAIL_API FANMAIL_KEY FANMAIL_SMTP FANMAIL_DATABASE_URL FANMAIL_NATS_URL FANMAIL_DNS_SERVER
export PATH="$root/bin:$PATH" FANMAIL_API_ADDR=127.0.0.1:0 FANMAIL_SMTP_ADDR=127.0.0.1:0

if grep -q 'fanmail domains' "$dir/steps.sh"; then
	address=127.18.0.25 # of the MX host; /etc/hosts has no name for it
	cat > "$dir/zone" <<ZONE
example.com. MX 10 mx.example.com.
example.com. TXT v=spf1 -all
_dmarc.example.com. TXT v=DMARC1; p=reject
mx.example.com. A $address
25.0.18.127.in-addr.arpa. PTR mx.example.com.
ZONE
	go -C "$root" build -trimpath -o "$dir/serve" ./test/dnstest/serve
	"$dir/serve" "$dir/zone" > "$dir/dns.txt" &
	dns=$!
	until [ -s "$dir/dns.txt" ]; do sleep 0.1; done
	FANMAIL_DNS_SERVER=$(cat "$dir/dns.txt")
	export FANMAIL_DNS_SERVER
	# What the page asks its reader to publish.
	(
		until token=$(grep -o 'fanmail-verify=[a-z0-9]*' "$dir/domain.txt" 2>/dev/null); do sleep 0.2; done
		echo "_fanmail.example.com. TXT $token" >> "$dir/zone"
	) &
	publisher=$!
	if [ "$(id -u)" -eq 0 ] && ! (exec 3<>"/dev/tcp/$address/25") 2>/dev/null; then
		FANMAIL_SMTP_ADDR=$address:25
	fi
fi

cd "$dir"
timeout --kill-after=40 180 bash steps.sh &
pid=$!
wait "$pid"
pid=
if [ -n "$dns" ]; then
	unwell='fail'
	[ "$FANMAIL_SMTP_ADDR" = 127.0.0.1:0 ] && { echo "$page: port 25 is not free, so nothing was sent to it"; unwell='fail +(MX|domain|SPF|DMARC):'; }
	if grep -qE "^$unwell" check.txt; then cat check.txt >&2; echo "$page: the doctor finds faults" >&2; exit 1; fi
fi
echo "✓ $page works as written"
