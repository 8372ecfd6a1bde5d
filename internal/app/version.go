package app

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fanmail-dev/fanmail/internal/release"
)

// commit is set by the linker: -X github.com/fanmail-dev/fanmail/internal/app.commit=…
var commit string

// version is set by the linker in what scripts/release.sh builds: -X github.com/fanmail-dev/fanmail/internal/app.version=…
var version string

// Version returns the number of the release, such as 0.1.0, or of a snapshot of it, such as 0.1.0-snapshot.1a2b3c4d5e6f.
func Version() string { return cmp.Or(version, release.Version()) }

// Commit returns what was built: the first of the linker's commit, the commit that the compiler recorded, the version
// of the module that go install fetched, and "unknown".
func Commit() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "unknown"
}

// Build is what --version prints: the release and the commit.
func Build() string { return Version() + " (" + Commit() + ")" }

// buildInfo is the metric with the version of the build and the process's name.
func buildInfo(process string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fanmail_build_info", Help: "1, with the build's version in the labels.",
		ConstLabels: prometheus.Labels{"process": process, "version": Version(), "commit": Commit(), "go_version": runtime.Version()},
	}, func() float64 { return 1 })
}
