package api

import (
	"context"
	"sync"
	"time"
)

// Finding is what one check of the doctor found.
type Finding struct {
	Check  string `json:"check"`
	Status string `json:"status" enum:"ok,warn,fail" doc:"warn: it works, but needs attention. fail: it does not work."`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty" doc:"What to do."`
}

// diagnosis is the response of GET /v1/operator/doctor.
type diagnosis struct {
	OK       bool      `json:"ok" doc:"No check failed."`
	At       time.Time `json:"at" doc:"When the checks began."`
	Took     float64   `json:"took_ms"`
	Findings []Finding `json:"findings"`
}

const (
	// diagnosisAge is how long a diagnosis is given again, and diagnosisTime how long one may take.
	diagnosisAge  = 10 * time.Second
	diagnosisTime = 30 * time.Second
)

// doctor runs the checks, one run at a time.
type doctor struct {
	check func(context.Context) []Finding // nil: there are none

	mu   sync.Mutex
	last *diagnosis
}

// diagnose returns the last diagnosis, or a new one if it is old. Callers that come meanwhile wait for it; it does
// not end with the one who began it.
func (d *doctor) diagnose(ctx context.Context) *diagnosis {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil && time.Since(d.last.At) < diagnosisAge {
		return d.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnosisTime)
	defer cancel()
	out := &diagnosis{OK: true, At: time.Now().UTC(), Findings: d.check(ctx)}
	out.Took = float64(time.Since(out.At).Microseconds()) / 1000
	for _, f := range out.Findings {
		out.OK = out.OK && f.Status != "fail"
	}
	d.last = out
	return out
}
