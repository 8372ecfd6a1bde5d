// Command observability checks deploy/observability against a real Prometheus
// that scrapes a real `fanmail up` under load: every panel of the dashboard has
// data, every alert evaluates, every metric that they name is exported, and
// promtool's unit tests of the alerts pass.
//
// The tests of this package check what needs no Prometheus: that metrics named
// in rules and panels are in docs/reference/metrics.md, and that each alert has its
// runbook in docs/reference/alerts.md and a case in which it fires and one in which not.
package main
