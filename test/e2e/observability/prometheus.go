package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fanmail-dev/fanmail/test/process"
)

// prometheus is a running Prometheus.
type prometheus struct{ base string }

const configuration = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: fanmail-up
    static_configs: [{targets: [%q]}]
`

// scrape starts a Prometheus that scrapes target every second and evaluates the alerts.
func scrape(ctx context.Context, bin, dir, rules, target string) (*prometheus, *process.Process, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, rules, target), 0o600); err != nil {
		return nil, nil, fmt.Errorf("configure Prometheus: %w", err)
	}
	p, err := process.Start(ctx, process.Spec{
		Name: "prometheus", Bin: filepath.Join(bin, "prometheus"), Logs: dir, Ready: "http://" + addr + "/-/ready",
		Args: []string{"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "tsdb"), "--web.listen-address", addr, "--log.level", "warn"},
	})
	return &prometheus{"http://" + addr}, p, err
}

// get calls the HTTP API.
func (p *prometheus) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("ask Prometheus: %w: %s", err, b)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, out)
}

var errNoData = errors.New("no data")

// check runs a panel's query. It returns errNoData if the result is empty or only NaN.
func (p *prometheus) check(ctx context.Context, expr string) error {
	expr = strings.NewReplacer("$__rate_interval", "10s", "$job", "fanmail.*").Replace(expr)
	var answer struct {
		Result []struct{ Value [2]any }
	}
	if err := p.get(ctx, "query?query="+url.QueryEscape(expr), &answer); err != nil {
		return err
	}
	for _, r := range answer.Result {
		text, _ := r.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && v == v { // false for NaN
			return nil
		}
	}
	return errNoData
}

// missing returns the metrics that no target exports.
func (p *prometheus) missing(ctx context.Context, wanted []string) ([]string, error) {
	var names []string
	if err := p.get(ctx, "label/__name__/values", &names); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(m string) bool {
		return slices.Contains(names, m) || slices.Contains(names, m+"_bucket")
	}), nil
}

// evaluated returns how many alerts were evaluated without an error.
func (p *prometheus) evaluated(ctx context.Context) (int, error) {
	var answer struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.get(ctx, "rules", &answer); err != nil {
		return 0, err
	}
	n := 0
	for _, g := range answer.Groups {
		for _, r := range g.Rules {
			switch r.Health {
			case "ok":
				n++
			case "err":
				return n, fmt.Errorf("alert %s: %s", r.Name, r.LastError)
			}
		}
	}
	return n, nil
}
