package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// alert is a rule of alerts.yaml.
type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Annotations map[string]string `yaml:"annotations"`
}

// query is one expression of a panel.
type query struct{ panel, expr string }

// alerts reads deploy/observability/alerts.yaml.
func alerts(root string) ([]alert, error) {
	b, err := os.ReadFile(filepath.Join(root, "deploy/observability/alerts.yaml")) //nolint:gosec // our own file
	if err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all, nil
}

// queries reads the expressions of all panels of the dashboard.
func queries(root string) ([]query, error) {
	b, err := os.ReadFile(filepath.Join(root, "deploy/observability/grafana/fanmail.json")) //nolint:gosec // our own file
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	var all []query
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			return nil, fmt.Errorf("read the dashboard: panel %q has no query", p.Title)
		}
		for _, t := range p.Targets {
			all = append(all, query{p.Title, t.Expr})
		}
	}
	return all, nil
}

var metricName = regexp.MustCompile(`\bfanmail_[a-z0-9_]+`)

// metrics returns Fanmail's metrics in an expression, histograms by their own name.
func metrics(expr string) []string {
	names := metricName.FindAllString(expr, -1)
	for i, n := range names {
		names[i] = strings.TrimSuffix(n, "_bucket")
	}
	return names
}
