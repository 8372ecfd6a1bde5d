#!/usr/bin/env bash
# Records the README's first command, and the ones to try next, in a clean clone of this repository, and writes the
# terminal as an animated SVG to docs/pictures/terminal.svg. The ports 8080 and 2525 must be free.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/docs/pictures/terminal.svg
mkdir -p "$(dirname "$out")" bin
go -C test/browser build -trimpath -o "$PWD/bin/terminal" ./terminal

unset MAKEFLAGS MAKELEVEL MFLAGS # the recorded make was not started by another
work=$(mktemp -d)
chmod 755 "$work" # the user of the Postgres process needs access
trap 'rm -rf "$work"' EXIT
git clone -q . "$work/fanmail"
cat >"$work/scene.sh" <<'SCENE'
set -m # a job is a process group, which make run's Ctrl-C reaches
prompt() { printf '\e[1;34m$\e[0m \e[1m%s\e[0m\n' "$*"; }
does() { prompt "$@"; "$@"; printf '\n'; }
cd "$1/fanmail"
prompt make run
make run &
until bin/fanmail deliveries list --help >/dev/null 2>&1 && bin/fanmail events list --json 2>/dev/null | grep -q evt_; do sleep 0.2; done
sleep 3
printf '\n\e[2m# in another terminal\e[0m\n'
printf 'From: Ada <ada@example.net>\nSubject: Where is my event?\n\nHello.\n' >hello.eml
does bin/fanmail send hello.eml --to demo@fanmail.example
sleep 2
does bin/fanmail events list
does bin/fanmail webhooks list
exec >/dev/null 2>&1
kill -INT -%1 2>/dev/null || kill -INT %1
wait
SCENE
script -qec "bash $work/scene.sh $work" --log-out "$work/out" --log-timing "$work/timing" >/dev/null
bin/terminal --timing "$work/timing" --output "$work/out" >"$out"
echo "· $(wc -c <"$out") bytes in docs/pictures/terminal.svg"
