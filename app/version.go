package app

import "runtime/debug"

// version is stamped by the linker: -X github.com/fanmail-dev/fanmail/app.version=…
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
