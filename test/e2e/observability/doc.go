// Command observability checks deploy/observability on a real Prometheus that scrapes a real `fanmail
// up` under load. Every panel of the dashboard must have data, every alert must evaluate, every metric
// that they name must be exported, and promtool's unit tests of the alerts must pass.
//
// The tests of this package check what needs no Prometheus: the metrics in rules and panels are in
// docs/reference/metrics.md, and each alert has a runbook in docs/reference/alerts.md, a case in which
// it fires, and one in which it does not.
package main
