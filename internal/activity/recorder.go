package activity

import (
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// bucket is the length of one bucket of the totals, and kept how many there are.
	bucket = 10 * time.Second
	kept   = int(time.Hour / bucket)
)

// total is what a process did in one bucket.
type total struct {
	number int64 // of the bucket, since 1970
	Count
	lags Lags
}

// Recorder counts for one process. Create one with [NewRecorder]. Nil counts nothing. It is safe
// for concurrent use.
type Recorder struct {
	now func() time.Time

	mu       sync.Mutex
	totals   [kept + 1]total // a ring, by the buckets' numbers
	webhooks table
	tenants  table
	agents   table
}

// NewRecorder returns a recorder that has counted nothing.
func NewRecorder() *Recorder { return newRecorder(time.Now) }

func newRecorder(now func() time.Time) *Recorder {
	return &Recorder{now: now, webhooks: table{map[string]*line{}}, tenants: table{map[string]*line{}}, agents: table{map[string]*line{}}}
}

// total returns the bucket of a time. r.mu is held.
func (r *Recorder) total(now time.Time) *total {
	number := now.UnixNano() / int64(bucket)
	t := &r.totals[number%int64(len(r.totals))]
	if t.number != number {
		*t = total{number: number}
	}
	return t
}

// Event counts an event that was fanned out. agent is the address of its agent; "" for none. bytes are
// those of its envelope.
func (r *Recorder) Event(tenant events.TenantID, agent string, bytes int) {
	if r == nil {
		return
	}
	c := Count{Events: 1, Bytes: uint64(max(bytes, 0))}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.total(now).Events++
	owner := tenant.String()
	r.tenants.line(owner, owner, now).count(now, Count{Events: 1})
	if agent != "" {
		r.agents.line(agent, owner, now).count(now, c)
	}
}

// Began counts an attempt that begins, for a webhook or, if webhook is zero, for an agent's own
// webhook. The caller must call [Recorder.Ended] for each.
func (r *Recorder) Began(tenant events.TenantID, webhook events.WebhookID, agent string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, l := range r.lines(now, tenant, webhook, agent) {
		l.inFlight++
	}
}

// Outcome says how an attempt ended.
type Outcome uint8

// The values of [Outcome].
const (
	Delivered  Outcome = iota // 2xx
	Refused                   // another answer
	Unanswered                // none
)

// OutcomeOf returns the outcome of an attempt by its status code, which is 0 without an answer.
func OutcomeOf(delivered bool, code int) Outcome {
	switch {
	case delivered:
		return Delivered
	case code == 0:
		return Unanswered
	}
	return Refused
}

// Ended counts the end of an attempt. bytes are those of its body.
func (r *Recorder) Ended(tenant events.TenantID, webhook events.WebhookID, agent string, outcome Outcome, bytes int) {
	if r == nil {
		return
	}
	c := Count{Attempts: 1, Bytes: uint64(max(bytes, 0))}
	switch outcome {
	case Unanswered:
		c.Failures, c.Unanswered = 1, 1
	case Refused:
		c.Failures = 1
	case Delivered:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.total(now).add(c)
	of := r.lines(now, tenant, webhook, agent)
	for _, l := range of {
		l.inFlight--
	}
	of[0].count(now, c)
	if webhook.IsZero() {
		c.Bytes = 0 // an agent's bytes are those of its events
	}
	of[1].count(now, c)
}

// lines returns the rows of an attempt. r.mu is held.
func (r *Recorder) lines(now time.Time, tenant events.TenantID, webhook events.WebhookID, agent string) [2]*line {
	owner := tenant.String()
	of := r.tenants.line(owner, owner, now)
	if webhook.IsZero() {
		return [2]*line{of, r.agents.line(agent, owner, now)}
	}
	return [2]*line{of, r.webhooks.line(webhook.String(), owner, now)}
}

// Lag counts the time from an event's commit to the first attempt of one of its deliveries.
func (r *Recorder) Lag(d time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total(r.now()).lags.observe(d)
}

// Top returns the first rows that a request asks for, at most [MostRows]. It returns nil for an
// unknown kind or window.
func (r *Recorder) Top(q Request) []Row {
	if r == nil {
		return nil
	}
	of := map[string]*table{ByTenant: &r.tenants, ByWebhook: &r.webhooks, ByAgent: &r.agents}[q.By]
	window := -1
	for i, l := range lengths {
		if l.name == q.Window {
			window = i
		}
	}
	if of == nil || window < 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return of.top(r.now(), window, q.Order, min(max(q.Limit, 1), MostRows))
}

// Minutes returns what was counted in each minute of the last hour that had any activity, oldest
// first, and the present minute.
func (r *Recorder) Minutes() []Minute {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.now().UnixNano() / int64(bucket)
	var out []Minute
	for number := last - int64(kept) + 1; number <= last; number++ {
		t := &r.totals[number%int64(len(r.totals))]
		if t.number != number || t.Count == (Count{}) && t.lags.empty() {
			continue
		}
		at := number / int64(time.Minute/bucket) * 60
		if len(out) == 0 || out[len(out)-1].At != at {
			out = append(out, Minute{At: at})
		}
		m := &out[len(out)-1]
		m.Count.add(t.Count)
		m.Lags.Add(&t.lags)
	}
	return out
}

// Lately returns what was counted in the last minute: in the last five buckets, and the present
// one. seconds is how long these are.
func (r *Recorder) Lately() (m Minute, seconds float64) {
	if r == nil {
		return m, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now().UnixNano()
	last := now / int64(bucket)
	const whole = int64(time.Minute/bucket) - 1
	for number := last - whole; number <= last; number++ {
		if t := &r.totals[number%int64(len(r.totals))]; t.number == number {
			m.Count.add(t.Count)
			m.Lags.Add(&t.lags)
		}
	}
	m.At = last * int64(bucket/time.Second)
	return m, time.Duration(whole*int64(bucket) + now%int64(bucket)).Seconds()
}
