package apiclient

import "time"

// Counts are the numbers of GET /v1/stats, for the tenant or a webhook.
type Counts struct {
	Delivered   int      `json:"delivered"`
	Failed      int      `json:"failed"`
	Pending     int      `json:"pending"`
	Attempts    int      `json:"attempts"`     // of all these deliveries
	SuccessRate *float64 `json:"success_rate"` // 0 to 1; nil if no delivery has ended
	// Complete is false if only the newest deliveries are counted.
	Complete bool `json:"complete"`
	Waiting  int  `json:"waiting"`
	// WaitingMore says that more deliveries wait than Waiting counts.
	WaitingMore bool       `json:"waiting_more"`
	OldestDue   *time.Time `json:"oldest_due"` // nil if none waits
	Latency     *Latency   `json:"latency"`    // nil if nothing was delivered
}

// FailedAttempts is how many attempts of these deliveries failed, those of deliveries that are tried again too. A delivery
// that was delivered has one attempt that did not fail.
func (c Counts) FailedAttempts() int { return max(0, c.Attempts-c.Delivered) }

// Latency is the time from an event's creation to its recorded delivery, in milliseconds.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}
