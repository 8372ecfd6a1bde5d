#!/usr/bin/env bash
# Runs the sh blocks of each how-to, in order, one shell and one empty directory a page, against one `fanmail up`. What a
# page leaves to its reader is put in place: ids such as wh_…, addresses, keys, and files that it names. A block that
# needs a cluster, a cloud or another server is marked as shell and not run; scripts/howto.txt says who checks it.
# Arguments are pages; without any, all how-tos are walked.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- "$root"/docs/how-to/*.md
mapfile -t pages < <(realpath -e "$@")
[ ${#pages[@]} -eq $# ]
dir=$(mktemp -d "${TMPDIR:-/tmp}/fanmail-howto-XXXXXX")
chmod 755 "$dir" # the user of the Postgres process needs access
pid=''
finish() {
	[ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; }
	rm -rf "$dir"
}
trap finish EXIT

# Each block has a language. A command can't hide in another one.
fault=0
while IFS= read -r line; do
	grep -q "^$line " "$root/scripts/howto.txt" || { echo "scripts/howto.txt lacks: $line" >&2; fault=1; }
done < <(cd "$root" && grep -c '^ *```shell$' docs/how-to/*.md | grep -v ':0$')
for page in "$root"/docs/how-to/*.md "$root"/docs/tutorials/*.md; do
	awk -v page="${page#"$root"/}" '
		/^ *```/ && !inside { inside = 1; language = $0; sub(/^ *```/, "", language); if (language == "") { print page ":" NR ": a block without a language" > "/dev/stderr"; bad = 1 }; next }
		/^ *```$/ { inside = 0; next }
		inside && language == "text" && /^ *(\$ |fanmail |curl |export |kubectl |helm |nats )/ { print page ":" NR ": a command in a text block: " $0 > "/dev/stderr"; bad = 1 }
		END { exit bad }' "$page" || fault=1
done

# The CLI of NATS, of which pages show commands. Those within a sentence are for other clusters: it only parses them.
mkdir "$dir/bin"
ln -s "$(cd "$root" && go tool -n -modfile=tools/nats.mod nats)" "$dir/bin/nats"
while IFS= read -r line; do
	# shellcheck disable=SC2086 # words of a command
	said=$("$dir/bin/nats" ${line#*nats } --help 2>&1) || { echo "${line%%:*}: nats ${line#*nats }: ${said%%$'\n'*}" >&2; fault=1; }
done < <(cd "$root" && grep -oE '`nats [^`]+`' -r docs --include='*.md' | tr -d "\`'" | sort -u)
[ "$fault" = 0 ] || exit 1

unset FANMAIL_DIR FANMAIL_API FANMAIL_KEY FANMAIL_SMTP FANMAIL_DATABASE_URL FANMAIL_NATS_URL FANMAIL_DNS_SERVER
export PATH="$root/bin:$dir/bin:$PATH" FANMAIL_HTTP_ADDR=127.0.0.1:0
cd "$dir"
FANMAIL_API_ADDR=127.0.0.1:0 FANMAIL_SMTP_ADDR=127.0.0.1:0 fanmail up >up.log 2>&1 &
pid=$!
until [ -s .fanmail/credentials.json ]; do
	kill -0 "$pid" 2>/dev/null || { cat up.log >&2; exit 1; }
	sleep 0.1
done
credential() { sed -n "s/.*\"$1\": \"\(.*\)\",*/\1/p" "$dir/.fanmail/credentials.json"; }
id() { grep -o "\"id\": *\"$1_[0-9a-f]*\"" | head -n 1 | cut -d '"' -f 4; }
api=$(credential api)

# A webhook that nobody serves, with a delivery that waits, a replay and a mail: what the placeholders stand for.
world() {
	fanmail agents create robot@example.com >/dev/null
	local n where='--url http://127.0.0.1:65535/hook'
	case $page in *without-a-public-endpoint*) where='--kind pull' ;; esac
	webhook=$(fanmail webhooks create $where --events '*' --json | id wh)
	printf 'From: Ada <ada@example.org>\nTo: robot@example.com\nSubject: Order 42\n\nHello.\n' >mail.eml
	fanmail send mail.eml --to robot@example.com >/dev/null
	event=$(fanmail events create email.sent --data '{"n":1}' --json | id evt)
	for n in 2 3 4; do fanmail events create email.sent --data "{\"n\":$n}" >/dev/null; done
	until deliveries=$(fanmail deliveries list "$webhook" --json | grep -o 'whd_[0-9a-f]*' | sort -u) && [ "$(wc -w <<<"$deliveries")" -ge 4 ]; do sleep 0.1; done
	replay=$(fanmail replay --since 2h --until 1h --webhook "$webhook" --mode all --detach --json | id rpl) # of nothing: it ends
	running=$(fanmail replay --since 1h --webhook "$webhook" --mode all --detach --json | id rpl)
	message=$(fanmail events list --json | grep -o 'msg_[0-9a-f]*' | head -n 1)
	erasure=$(fanmail erasures create --address nobody@example.com --json | id era)
	case $page in *receive-mail-for-a-domain*) fanmail agents delete robot@example.com >/dev/null ;; esac # the page ends with no agent
	echo key >key.txt
	echo secret >secret.txt
	cp "$dir/client.pem" "$dir/client.key" .
	cp client.pem ca.pem
}

# What a page made is gone before the next page.
clean() {
	local what found
	for what in webhooks agents event-types domains; do
		while read -r found; do fanmail "$what" delete "$found" >/dev/null || true; done < <(made "$what")
	done
}
made() {
	case $1 in
	webhooks) fanmail webhooks list --json | grep -o '"id": *"wh_[0-9a-f]*"' | cut -d '"' -f 4 ;;
	agents) fanmail agents list --json | grep -o '"address": *"[^"]*"' | cut -d '"' -f 4 ;;
	event-types) fanmail event-types list --source tenant --json | grep -o '"name": *"[^"]*"' | cut -d '"' -f 4 ;;
	domains) fanmail domains list --json | grep -o '"domain": *"[^"]*"' | cut -d '"' -f 4 | grep -v '^\*$' ;;
	esac || true
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=client -keyout client.key -out client.pem 2>/dev/null
walked=0
for page in "${pages[@]}"; do
	name=$(basename "$page" .md)
	grep -q '^ *```sh$' "$page" && [ "$name" != install ] || continue # make package-check walks install.md in a container
	mkdir "$name"
	cd "$name"
	ln -s ../.fanmail .fanmail
	world
	{
		echo 'set -euo pipefail'
		echo 'trap "jobs -p | xargs -r kill 2>/dev/null || true; wait" EXIT'
		# These run until they are interrupted: here until they have begun.
		echo 'fanmail() {
			[ "$1" = listen ] || { command fanmail "$@"; return; }
			command fanmail "$@" >listen.txt 2>&1 &
			until grep -qE "listening on|(created|found) wh_" listen.txt; do kill -0 $! || { cat listen.txt >&2; return 1; }; sleep 0.1; done
			kill -INT $! && wait $! || true
		}'
		grep -q 'FANMAIL_KEY"' "$page" && echo "export FANMAIL_KEY=$(credential tenant_key)"
		echo 'set -x'
		sed -n '/^ *```sh$/,/^ *```$/{/^ *```/d;p;}' "$page" | sed -E \
			-e "s/wh_(…|0123456789abcdef0123456789abcdef)|WEBHOOK\b/$webhook/g" -e "s/evt_…/$event/g" \
			-e "/replay cancel/s/rpl_…/$running/" -e "s/rpl_…/$replay/g" -e "s/msg_0123456789abcdef0123456789abcdef/$message/g" -e "s/era_0123456789abcdef0123456789abcdef/$erasure/g" \
			-e "s/ten_(…|0123456789abcdef0123456789abcdef)|TENANT\b/$(credential tenant_id)/g" \
			-e "s|https://fanmail.example.com|$api|g" -e "s/fm_…/$(credential tenant_key)/g" |
			awk -v ids="$(tr '\n' ' ' <<<"$deliveries")" 'BEGIN { count = split(ids, id, " ") } { while (sub(/whd_…/, id[n++ % count + 1])); print }'
	} >steps.sh
	if ! FANMAIL_DATABASE_URL=$(credential database_url) FANMAIL_NATS_URL=$(credential nats_url) \
		timeout --kill-after=20 180 bash steps.sh >said.txt 2>&1; then
		tail -n 20 said.txt >&2
		echo "${page#"$root"/}: FAILED" >&2
		fault=1
	fi
	cd ..
	clean
	walked=$((walked + 1))
done
[ "$fault" = 0 ] || exit 1
echo "✓ the commands of $walked how-tos work as written"
