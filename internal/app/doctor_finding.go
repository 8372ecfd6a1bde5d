package app

import (
	"fmt"

	"github.com/fanmail-dev/fanmail/internal/health"
)

// The values of Status of a [Finding].
const (
	FindingOK   = "ok"
	FindingWarn = "warn" // works, but needs attention
	FindingFail = "fail" // does not work
)

// Finding is what one check of [Diagnose] found.
type Finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	// Fix says what to do; "" for nothing.
	Fix string `json:"fix,omitempty"`
}

// examination collects findings.
type examination struct{ found []Finding }

func (e *examination) add(check, status, fix, format string, args ...any) {
	e.found = append(e.found, Finding{Check: check, Status: status, Fix: fix, Detail: oneLine(fmt.Errorf(format, args...))})
}

// remedy returns what to do about a known error, or else fix.
func remedy(err error, fix string) string {
	if f, known := health.Explain(err); known {
		return f.Remedy
	}
	return fix
}
