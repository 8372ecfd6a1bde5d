package app

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/miltertest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

var update = flag.Bool("update", false, "write docs/reference/metrics.md from what the processes export")

const metricsPage = "../../docs/reference/metrics.md"

// TestMetricsAreDocumented runs the processes and compares what they
// export with docs/reference/metrics.md.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	db, broker, life := Database{URL: secret.Text(pgtest.URL(t))}, NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle{HTTPAddr: "127.0.0.1:0"}
	processes := map[string]func(*zap.Logger) error{
		"publisher": func(l *zap.Logger) error {
			return RunPublisher(t.Context(), PublisherConfig{Database: db, NATS: broker, Lifecycle: life}, l)
		},
		"dispatcher": func(l *zap.Logger) error {
			return RunDispatcher(t.Context(), DispatcherConfig{Database: db, NATS: broker, Lifecycle: life, AlertMail: AlertMail{Relay: "smtp://127.0.0.1:1?tls=off", From: "alerts@example.com"}}, l)
		},
		"ingest": func(l *zap.Logger) error {
			return RunIngest(t.Context(), IngestConfig{Database: db, NATS: broker, Lifecycle: life, SMTP: SMTP{Addr: "127.0.0.1:0", Milters: []string{miltertest.Serve(t, miltertest.Filter{})}}}, l)
		},
		"api": func(l *zap.Logger) error {
			return RunAPI(t.Context(), APIConfig{Database: db, NATS: broker, Lifecycle: life, Addr: "127.0.0.1:0"}, l)
		},
		"maintain": func(l *zap.Logger) error { return Maintain(t.Context(), db, time.Minute, Retention{}, life, l) },
	}
	families := map[string]*family{}
	exporters := map[string][]string{}
	for name, run := range processes {
		core, logs := observer.New(zap.InfoLevel)
		done := make(chan error, 1)
		go func() { done <- run(zap.New(core)) }()
		t.Cleanup(func() { require.NoError(t, <-done) }) // its context has ended by then
		base := statusURL(t, logs)
		becomesReady(t, base)
		if name == "api" {
			for _, e := range logs.FilterMessage("serving the API").All() {
				_, _ = get(t, "http://"+e.ContextMap()["addr"].(string)+"/v1/webhooks")
			}
		}
		_, body := get(t, base+"/metrics")
		problems, err := promlint.New(strings.NewReader(body)).Lint()
		require.NoError(t, err)
		for metric, f := range parseFamilies(body) {
			if !strings.HasPrefix(metric, "fanmail_") {
				continue // the runtime's
			}
			families[metric] = f
			exporters[metric] = append(exporters[metric], name)
			for _, p := range problems {
				require.NotEqual(t, metric, p.Metric, "%s: %s", p.Metric, p.Text)
			}
		}
	}
	table := describe(families, exporters)
	if *update {
		page, err := os.ReadFile(metricsPage)
		require.NoError(t, err)
		head, _, found := bytes.Cut(page, []byte(tableHead))
		require.True(t, found, "%s has the table's head", metricsPage)
		require.NoError(t, os.WriteFile(metricsPage, append(head, table...), 0o600))
	}
	page, err := os.ReadFile(metricsPage)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(page), table),
		"docs/reference/metrics.md does not say what the processes export; write it with: go test ./internal/app -run TestMetricsAreDocumented -update\n%s", table)
}

const tableHead = "| metric | type | labels | from | what |\n|---|---|---|---|---|\n"

// family is what the table says of a metric.
type family struct {
	help, kind string
	labels     map[string]bool
}

// parseFamilies reads Prometheus's text format, by metric. It leaves out the labels "le" and "quantile", which belong to
// the format.
func parseFamilies(text string) map[string]*family {
	all := map[string]*family{}
	of := func(name string) *family {
		if all[name] == nil {
			all[name] = &family{labels: map[string]bool{}}
		}
		return all[name]
	}
	current := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, says, _ := strings.Cut(help, " ")
			of(name).help = says
		} else if kind, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, is, _ := strings.Cut(kind, " ")
			of(name).kind, current = is, name
		} else {
			for _, label := range labelName.FindAllStringSubmatch(line, -1) {
				if label[1] != "le" && label[1] != "quantile" {
					of(current).labels["`"+label[1]+"`"] = true
				}
			}
		}
	}
	return all
}

var labelName = regexp.MustCompile(`[{,]([a-z_]+)="`)

// describe gives the table of the page.
func describe(families map[string]*family, exporters map[string][]string) string {
	lines := make([]string, 0, len(families))
	for name, f := range families {
		from := exporters[name]
		slices.Sort(from)
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, f.kind,
			strings.Join(sorted(f.labels), ", "), strings.Join(from, ", "), f.help))
	}
	slices.Sort(lines)
	return tableHead + strings.Join(lines, "")
}

func sorted(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for k := range set {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
