# Fanmail. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: quickstart help setup run demo test build lint generate bench-quick bench chaos chaos-long soak replicas replay-long observability-check chart-check

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X github.com/fanmail-dev/fanmail/internal/app.version=$(VERSION)
LINT := go tool -modfile=tools/go.mod golangci-lint

# The race detector needs a C compiler. It is on in CI, or with RACE=-race.
RACE ?= $(if $(CI),$(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null 2>&1 && echo -race))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## install what is missing on this machine: Postgres
	@scripts/setup.sh

run: setup build ## start all of Fanmail, show a mail arrive as a webhook, and stay up
	@bin/fanmail demo --stay

demo: setup build ## the same on free ports, and stop: exit 0 only if the webhook verified
	@bin/fanmail --dir .fanmail/demo demo --api 127.0.0.1:0 --smtp 127.0.0.1:0

test: setup ## vet and test everything
	@echo "· go vet $(RACE)"
	@go vet $(RACE) ./...
	@echo "· go test $(RACE)"
	@FANMAIL_TEST_DATABASE_URL="$${FANMAIL_TEST_DATABASE_URL:-$$FANMAIL_DATABASE_URL}" go test $(RACE) -vet=off -timeout 30m ./...

build: ## build the commands into bin/, with the version stamped in
	@echo "· building bin/ ($(VERSION))"
	@mkdir -p bin
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

lint: ## run golangci-lint
	@$(LINT) run ./...

generate: ## write the generated files anew
	@go generate ./...

bench-quick: setup build ## the short benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run . --quick

bench: setup build ## the whole benchmark; writes test/bench/results/latest.json
	@cd test/bench && go run .

chaos: setup ## break everything for two minutes, and prove that nothing was lost
	@go run ./test/chaos --seed 1

chaos-long: setup ## the same for half an hour, with a random seed and the product's own leases
	@go run ./test/chaos --long

soak: setup ## an hour at 300 deliveries a second while partitions roll over; what is used must stay flat
	@go run ./test/chaos --soak --plot docs/explanation/soak.svg

replicas: setup ## dispatchers come and go for two minutes, and a million rows wait for dead endpoints
	@FANMAIL_LONG=1 go test -count=1 -parallel 1 -v -run 'TestCapsAndOrderHold|TestABacklogOfTheDead' ./test/e2e

replay-long: setup ## a replay of 100,000 events beside 200 live ones a second, with a cancel and a kill; and the fan-out set back over as many
	@FANMAIL_LONG=1 go test -count=1 -v -timeout 40m -run TestAReplayUnderLiveTraffic ./test/e2e
	@FANMAIL_LONG=1 go test -count=1 -v -timeout 40m -run TestResettingTheFanoutConsumerSendsNothing ./internal/replay

observability-check: setup ## the dashboard's queries and the alerts, against a real Prometheus that scrapes a real Fanmail
	@go run ./test/observability --prometheus "$$(scripts/prometheus.sh)"

quickstart: setup build ## walk docs/tutorials/quickstart.md as it is written, in an empty folder
	@scripts/quickstart.sh

chart-check: ## check chart, Compose, Dockerfile and the builds' bytes with the real tools
	@scripts/chart-check.sh
