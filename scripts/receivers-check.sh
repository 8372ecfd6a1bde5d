#!/usr/bin/env bash
# Tests the packages in receivers/ and clients/ by themselves, then the programs of docs/how-to/receive-webhooks.md and
# docs/how-to/call-the-api.md against bin/fanmail.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/languages.sh

# What runs as root must not run scripts of packages. npm ci is slow, and the packages change seldom.
installed() {
	cmp -s package-lock.json node_modules/.installed || {
		npm ci --ignore-scripts --silent
		cp package-lock.json node_modules/.installed
	}
}

for module in receivers/go clients/go; do
	echo "· $module"
	go -C "$module" vet ./...
	go -C "$module" test -count=1 -vet=off ./...
done

echo '· receivers/typescript'
(cd receivers/typescript && installed && npm run --silent build && npm test --silent)

echo '· clients/typescript'
(
	cd clients/typescript
	installed
	npm exec --offline -- openapi-typescript ../../internal/api/openapi.json -o build/schema.ts 2>/dev/null
	cmp build/schema.ts src/schema.ts || {
		echo 'src/schema.ts is out of date: run "npm ci && npm run generate" in clients/typescript and commit it'
		exit 1
	}
	npm run --silent build
)

echo '· receivers/python'
python=python3
"$python" -c 'import uvicorn, mypy' 2>/dev/null || python=/usr/bin/python3
(cd receivers/python && "$python" -m mypy --no-error-summary --cache-dir=/dev/null src)
(cd receivers/python && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=src "$python" -m unittest discover -s tests 2>&1 | tail -n 3)

echo '· against a running Fanmail'
go -C test/e2e vet -tags receivers .
go -C test/e2e test -count=1 -vet=off -tags receivers -run 'TestTheReceiversWithPackages|TestTheProgramsThatCallTheAPI' .
