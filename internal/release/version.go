package release

import (
	_ "embed"
	"strings"
)

//go:embed VERSION
var file string

// Version returns the number of the release, such as 0.1.0.
func Version() string { return strings.TrimSpace(file) }
