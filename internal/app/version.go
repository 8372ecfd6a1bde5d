package app

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// version is set by the linker: -X github.com/fanmail-dev/fanmail/internal/app.version=…
var version string

// Version returns the version of the build: the first of the linker's version,
// the module's version, the commit and "unknown".
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

// buildInfo is the metric with the version of the build and the process's name.
func buildInfo(process string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanmail_build_info", Help: "1, with the build's version in the labels.",
		ConstLabels: prometheus.Labels{"process": process, "version": Version(), "go_version": runtime.Version()},
	}, func() float64 { return 1 })
}
