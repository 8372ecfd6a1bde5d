# Fanmail. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: compat matrix release-contract quickstart howto help setup run demo test build lint generate bench-quick bench bench-latency bench-smtp chaos chaos-long soak pooler milters model replicas replay-long observability-check chart-check console-check console-bench pictures receivers-check vulns docs docs-serve packages package-check release-snapshot

COMMIT := $(shell git describe --match= --always --abbrev=40 --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X github.com/fanmail-dev/fanmail/internal/app.commit=$(COMMIT)

# The modules that `make test` tests, the root module first. Go's test cache does not notice changes in another module,
# so the other modules run with -count=1. The tests of test/chart need more tools; `make chart-check` runs them.
MODULES := . test/e2e test/chaos test/bench

# The tests of test/browser need Chromium; `make console-check` runs them. `make compat` runs those of test/compat. `make receivers-check` runs those of
# receivers/ and clients/.
LINTED := $(MODULES) test/compat test/browser receivers/go clients/go

# Tests mostly wait for servers, so more of them than processors run at once: packages, and tests of each.
PARALLEL ?= $(shell echo $$((1 + $$(getconf _NPROCESSORS_ONLN))))

# `make test RACE=-race` looks for data races, which needs a C compiler.
RACE ?=

# The race detector takes minutes, so it runs where it can find something: over the packages whose own code starts a
# goroutine or guards what several share. With each change these are the engine's. RACE_ALL=1, each night, takes those of
# servers too, and of the tests of commands and of test/e2e, which mostly start processes, those with several of our
# goroutines in their own process.
SHARES := ^\s*go [a-z(]|"sync(/atomic)?"|"golang.org/x/sync/
ENGINE := /(fanout|outbox|subscribers|internal/(agentwebhook|attempt|dispatch|engine|relay|replay|stream|usage))(/|$$)
RACED := $(if $(RACE_ALL),.,$(ENGINE))
RACED_COMMANDS := Listen|Sent|Copies|Seen|Forwarded|Developer|Assistant|TheDemo
RACED_E2E := TestMailThatNobodyWouldWriteArrives

# golangci-lint runs all of go vet too, so that CI, which lints first, leaves it out here.
VET ?= $(if $(CI),,vet)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

setup: ## install Postgres if this machine has none
	@scripts/setup.sh

run: setup build ## start all processes, show how a mail becomes a webhook, and keep running
	@bin/fanmail demo --stay

demo: setup build ## the same on free ports, then stop; exits 0 only if the webhook's signature is valid
	@bin/fanmail --dir .fanmail/demo demo --api 127.0.0.1:0 --smtp 127.0.0.1:0

test: setup ## vet and test the code, module by module
	@set -e; export FANMAIL_TEST_DATABASE_URL="$${FANMAIL_TEST_DATABASE_URL:-$$FANMAIL_DATABASE_URL}"; \
	test="go test -vet=off -p $(PARALLEL) -parallel $(PARALLEL) -timeout 30m"; packages=./...; fresh=; \
	$(if $(RACE),raced="env CGO_ENABLED=1 GOFLAGS= $$test -race"; all="$$(go list -f '{{.Dir}}' ./... | sort)"; \
		shares="$$(grep -lE '$(SHARES)' $$(go list -f '{{$$d := .Dir}}{{range .GoFiles}}{{$$d}}/{{.}} {{end}}' ./...) | xargs -n1 dirname | sort -u | grep -v /cmd/ | grep -E '$(RACED)')"; \
		echo "· .: go test -race"; $$raced $$shares; \
		$(if $(RACE_ALL),$$raced -run '$(RACED_COMMANDS)' ./cmd/fanmail; \
		echo "· test/e2e: go test -race"; (cd test/e2e && $$raced -count=1 -run '$(RACED_E2E)' .);) \
		packages="$$(printf '%s\n' "$$all" | grep -vxF "$$shares") $(shell grep -rl --include=*_test.go '^//go:build !race' *.go [a-z]*/ | xargs -n1 dirname | sort -u | sed 's|^|./|')";) \
	for module in $(MODULES); do \
		if [ -n "$(VET)" ]; then echo "· $$module: go vet"; (cd $$module && go vet ./...); fi; \
		echo "· $$module: go test"; (cd $$module && $$test $$fresh $$packages); \
		fresh=-count=1 packages=./...; \
	done

build: ## build the commands into bin/, with their commit
	@echo "· building bin/ ($(COMMIT))"
	@mkdir -p bin
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

VULNDB ?= https://vuln.go.dev
vulns: ## check all modules against the Go vulnerability database, if it can be reached
	@go run ./test/vulns --db $(VULNDB) $(LINTED) tools tools/oapi-codegen tools/release tools/_kms test/chart

# actionlint's requirements don't fit golangci-lint's, so it has a modfile. Runners have shellcheck and other machines may
# not: without it, all say the same.
lint: ## run golangci-lint, and actionlint on the workflows
	@go tool -modfile=tools/actionlint.mod actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	@! grep -nE 'uses: [^.]' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9.]+$$' || { echo 'pin these actions by commit: a tag can be moved' >&2; exit 1; }
	@lint=$$(go tool -n -modfile=tools/go.mod golangci-lint); root=$$PWD; set -e; "$$lint" config verify; \
	for module in $(LINTED); do (cd $$module && "$$lint" run --config "$$root/.golangci.yml" ./...); done

compat: ## compare the contracts with those of the last release: API, events, signatures, Go, metrics, settings, commands, chart
	@go -C test/compat test -count=1 ./...

RELEASE := $(shell cat internal/release/VERSION)
release-contract: ## write the contracts of the version in internal/release/VERSION, with which later changes are compared
	@! git rev-parse -q --verify refs/tags/v$(RELEASE) >/dev/null || { echo "v$(RELEASE) is released already: raise internal/release/VERSION first"; exit 1; }
	@go -C test/compat test -count=1 -run TestTheContractsOfTheLastReleaseAreKept . -update

generate: ## update the generated files
	@set -e; for module in . test/e2e clients/go; do go -C $$module generate ./...; done

bench-quick: setup build ## run the short benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run . --quick

bench: setup build ## run the whole benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run .

bench-latency: setup build ## run the workloads of endpoints that take time, with River's numbers of workers; short form
	@cd test/bench && go run . --quick --workloads latency --systems fanmail,river,river-2000,river-5000

bench-smtp: setup ## compare the acceptance of mail with Postfix's; needs root, because Postfix does
	@scripts/postfix.sh
	@cd test/bench && go run . smtp

chaos: setup ## inject faults for two minutes, then check that no event was lost
	@scripts/faketime.sh
	@go -C test/chaos run . --seed 1

chaos-long: setup ## run chaos for half an hour, with a random seed and the default leases
	@scripts/faketime.sh
	@go -C test/chaos run . --long

soak: setup ## run 300 deliveries a second for an hour while partitions rotate; memory and disk use must stay constant
	@go -C test/chaos run . --soak --plot ../../docs/explanation/soak.svg

pooler: setup ## run all of Fanmail through PgBouncer, in session and in transaction mode
	@scripts/pgbouncer.sh
	@go test -count=1 -tags pooler -run Pooler ./cmd/fanmail

milters: setup ## send mail through rspamd, ClamAV and OpenDKIM, and check that their decisions are obeyed
	@scripts/milters.sh
	@go test -count=1 -tags milters -run RealMilters ./internal/ingest

model: ## check the model of one delivery with spin, and that each of its guards is needed; notes in test/model/checked.txt what it has checked
	@scripts/spin.sh
	@go test -count=1 -timeout 60m -tags model -skip TestTheModelIsTheOneThatWasChecked ./test/model
	@cd test/model && sha256sum delivery.pml spin_test.go >checked.txt

replicas: setup ## start and stop dispatchers for two minutes, with a million due rows for endpoints that do not answer
	@FANMAIL_LONG=1 go -C test/e2e test -count=1 -parallel 1 -v -run 'TestCapsAndOrderHold|TestABacklogOfTheDead' .

replay-long: setup ## replay 100,000 events beside 200 live events a second, with a cancel and a kill; then reset the fan-out consumer
	@FANMAIL_LONG=1 go -C test/e2e test -count=1 -v -timeout 40m -run TestAReplayUnderLiveTraffic .
	@FANMAIL_LONG=1 go test -count=1 -v -timeout 40m -run TestResettingTheFanoutConsumerSendsNothing ./internal/replay

observability-check: setup ## run the dashboard's queries and the alerts on a real Prometheus that scrapes a real Fanmail
	@go -C test/e2e run ./observability --prometheus "$$(scripts/prometheus.sh)"

quickstart: setup build ## run the commands of the tutorials, each in an empty folder
	@scripts/quickstart.sh docs/tutorials/quickstart.md
	@scripts/quickstart.sh docs/tutorials/receive-mail-for-a-domain.md

docs: ## check the spelling of the pages, build them as a site into bin/docs, and check its links; installs Node if missing
	@scripts/docs.sh

docs-serve: ## serve the pages as a site on loopback while you write them
	@scripts/node.sh
	@npm --prefix docs/.vitepress ci --no-audit --no-fund --loglevel error
	@npm --prefix docs/.vitepress run serve

matrix: ## test what talks to Postgres and NATS with Postgres 15 to 18, and with the oldest and the newest NATS; needs npm
	@scripts/matrix.sh

howto: setup build ## run the commands of the how-tos, each page in an empty folder; scripts/howto.txt lists those that need more
	@scripts/howto.sh

console-check: setup ## walk the console in Chromium, which is installed if missing: pages, hostile mails, accessibility
	@scripts/chromium.sh
	@$(if $(VET),go -C test/browser vet ./...)
	@go -C test/browser test -count=1 -vet=off -parallel $(PARALLEL) -timeout 20m .

receivers-check: setup build ## test the packages in receivers/ and clients/ by themselves, then against a running Fanmail
	@scripts/receivers-check.sh

console-bench: setup ## measure the console's pages with ten million deliveries beside 200 live ones a second; takes 8 GB of disk
	@go -C test/browser test -tags consolebench -count=1 -vet=off -timeout 60m -v -run TestPagesWithTenMillionDeliveries .

pictures: setup ## record the terminal and photograph the console for README and docs; needs the ports 8080 and 2525
	@scripts/recording.sh
	@scripts/chromium.sh
	@go -C test/browser test -count=1 -vet=off -timeout 10m -run TestPicturesOfTheConsoleAreCurrent . -update

packages: ## make the packages for Debian and Red Hat in bin/package
	@scripts/packages.sh

package-check: ## install the Debian package on a fresh Debian with systemd, and walk docs/how-to/install.md there; upgrade deb and rpm; needs root
	@scripts/package-check.sh

release-snapshot: ## make everything that a release publishes in bin/release, from this commit and without publishing it
	@scripts/release.sh

chart-check: ## check the chart, Compose, the Dockerfile and reproducible builds with the real tools
	@scripts/chart-check.sh
