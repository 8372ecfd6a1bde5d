#!/bin/bash
# Runs inside the container of scripts/package-check.sh: sets the package up as docs/how-to/install.md says, and checks
# what it promises. The file /root/passed says that all went well.
set -euo pipefail
cd /root/give
say() { printf '· %s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*"; journalctl --no-pager -n 60 -u 'fanmail-*'; exit 1; }
# await WHAT COMMAND...: until the command succeeds, for at most two minutes.
await() {
	local what=$1 end=$((SECONDS + 120))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || die "$what: $*"
		sleep 0.2
	done
}
services=(publisher dispatcher ingest api maintain)
units=("${services[@]/#/fanmail-}")
units=("${units[@]/%/.service}")
main() { systemctl show -P MainPID "fanmail-$1"; }
ready() { systemctl is-active "fanmail-$1" && (exec 3<>"/dev/tcp/127.0.0.1/$2" && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && grep -q '^HTTP/1.. 200' <&3); }

await 'Postgres is there' runuser -u postgres -- psql -qc 'SELECT 1'
systemd-run --quiet --unit=nats-server /root/give/natsd -dir /var/lib/nats -port 4222

say 'install'
dpkg --install /root/give/fanmail.deb
[ "$(systemctl is-active fanmail.target)" = inactive ] || die 'the package started something'
systemd-analyze verify fanmail.target "${units[@]}" 2>&1 | tee /root/verify.txt
[ ! -s /root/verify.txt ] || die 'systemd-analyze verify found something'
for s in "${services[@]}"; do
	# 10 is the least of "exposed"; below 2 systemd says "OK" in green.
	systemd-analyze security --no-pager --threshold=20 "fanmail-$s.service" | tail -n 1 || die "fanmail-$s is exposed"
done

say 'set up as docs/how-to/install.md says'
# Only the test's webhook is on this machine.
printf 'FANMAIL_ALLOW_HTTP=true\nFANMAIL_ALLOW_NETWORKS=127.0.0.0/8\n' >>/etc/fanmail/fanmail.env
sed -n '/^```sh$/,/^```$/{/^```/d;p;}' install.md >steps.sh
grep -q 'systemctl enable --now fanmail.target' steps.sh || die 'the page has no steps'
wait_ready() {
	await 'publisher is ready' ready publisher 9101
	await 'dispatcher is ready' ready dispatcher 9102
	await 'ingest is ready' ready ingest 9103
	await 'api is ready' ready api 9104
	await 'maintain is ready' ready maintain 9105
}
# The processes start in the background of the step that starts them.
sed -i 's/^systemctl enable --now fanmail.target$/&\nwait_ready/' steps.sh
. ./steps.sh
fanmail doctor --nats-url nats://127.0.0.1:4222 || die 'the doctor finds faults'
fanmail version

say 'no secret in an environment, no user of root, no right but port 25'
password=$(sed 's|.*:\(.*\)@.*|\1|' /etc/fanmail/credentials/dispatcher/database-url)
for s in "${services[@]}"; do
	pid=$(main "$s")
	[ "$(stat -c %u "/proc/$pid")" -ge 61184 ] || die "fanmail-$s has the user $(stat -c %U "/proc/$pid")"
	! tr '\0' '\n' <"/proc/$pid/environ" | grep -qE 'postgres://|nats://' || die "fanmail-$s has a secret in its environment"
	want=0000000000000000
	[ "$s" != ingest ] || want=0000000000000400
	[ "$(sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")" = $want ] || die "fanmail-$s has capabilities"
done
[ -n "$password" ] && ! journalctl --no-pager | grep -q "$password" || die 'a password is in the journal'

say 'a mail over SMTP becomes a verified webhook'
fanmail listen --events email.received >/root/listen.txt 2>&1 &
await 'fanmail listen has a webhook' grep -q . /root/listen.txt
fanmail send --smtp 127.0.0.1:25 --to robot@example.com
await 'the webhook arrives' grep -qE 'email.received .* attempt 1  verified  → 200' /root/listen.txt
grep email.received /root/listen.txt

say 'a killed process comes back'
before=$(main dispatcher)
kill -KILL "$before"
changed() { [ "$(main dispatcher)" != "$before" ] && ready dispatcher 9102; }
await 'the dispatcher is back' changed
fanmail send --smtp 127.0.0.1:25 --to robot@example.com
second() { [ "$(grep -c 'verified  → 200' /root/listen.txt)" = 2 ]; }
await 'the second webhook arrives' second

say 'completions and manual pages'
bash -c '. /usr/share/bash-completion/completions/fanmail && complete -p fanmail' | grep -q /usr/bin/fanmail || die bash
[ "$(zsh -fc 'autoload -Uz compinit && compinit -u -d /tmp/zcompdump && print $_comps[fanmail]')" = _fanmail ] || die zsh
fish -c 'complete -C "fanmail webh"' | grep -qx webhooks || die fish
[ "$(COMP_LINE='fanmail webh' COMP_POINT=12 fanmail)" = webhooks ] || die 'completion'
for page in fanmail fanmail-publisher fanmail-dispatcher fanmail-ingest fanmail-api; do
	man --warnings=w "$page" >/tmp/page.txt 2>/tmp/page.err && [ ! -s /tmp/page.err ] || { cat /tmp/page.err; die "man $page"; }
	grep -q 'FANMAIL_' /tmp/page.txt || die "man $page names no variable"
done

say 'an upgrade keeps settings and processes, a removal the settings, a purge nothing'
api=$(main api)
dpkg --install --force-confdef /root/give/fanmail.deb
[ "$(main api)" = "$api" ] || die 'the upgrade restarted a process'
grep -q mx.example.com /etc/fanmail/ingest.env || die 'the upgrade changed a setting'
dpkg --remove fanmail
[ ! -e "/proc/$api" ] || die 'the removed API runs'
[ ! -e /usr/bin/fanmail ] && grep -q mx.example.com /etc/fanmail/ingest.env && [ -s /etc/fanmail/credentials/secrets-key ] || die 'the removal'
dpkg --purge fanmail
[ ! -e /etc/fanmail ] || die 'the purge left /etc/fanmail'
touch /root/passed
