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
type examination struct {
	found []Finding
	// writeless says that the database takes no writes: what processes wrote about themselves is old.
	writeless bool
}

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

// where says which JetStream is meant, after the name; "" for that of the server itself.
func (c *NATS) where() string {
	switch {
	case c.Domain != "":
		return " in domain " + c.Domain
	case c.Prefix != "":
		return " at " + c.Prefix
	}
	return ""
}
