package app

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// version is stamped by the linker: -X github.com/fanmail-dev/fanmail/internal/app.version=…
var version string

// Version names the build: the stamped version, else the module's, else the
// commit, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "unknown"
}

// buildInfo is the metric that says which build runs as which process.
func buildInfo(process string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanmail_build_info", Help: "1, with the build's version in the labels.",
		ConstLabels: prometheus.Labels{"process": process, "version": Version(), "go_version": runtime.Version()},
	}, func() float64 { return 1 })
}
