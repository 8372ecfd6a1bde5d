package history

// Kind says what a [Record] is about.
type Kind string

// The kinds of records; each uses the field of its name.
const (
	KindRun      Kind = "run"
	KindHook     Kind = "hook"
	KindChange   Kind = "change"
	KindOffered  Kind = "offered"
	KindAccepted Kind = "accepted"
	KindPost     Kind = "post"
	KindFault    Kind = "fault"
	KindSeen     Kind = "seen"
	KindRow      Kind = "row"
	KindEnd      Kind = "end"
)

// Record is one line.
type Record struct {
	Kind Kind  `json:"kind"`
	Run  *Run  `json:"run,omitempty"`
	Hook *Hook `json:"hook,omitempty"`
	// Change of a webhook.
	Change *Change `json:"change,omitempty"`
	Offer  *Offer  `json:"offer,omitempty"` // offered and accepted
	Post   *Post   `json:"post,omitempty"`
	Fault  *Fault  `json:"fault,omitempty"`
	Row    *Row    `json:"row,omitempty"` // seen and row
	End    *End    `json:"end,omitempty"`
}

// Run is the first record: what the run was.
type Run struct {
	At   int64  `json:"at"`
	Seed uint64 `json:"seed"`
	// LeaseUS is the longest lease of a delivery in the build under test.
	LeaseUS int64 `json:"lease_us"`
	// GuardUS is how long a lease still lasts, at the least, when a POST
	// begins.
	GuardUS int64 `json:"guard_us"`
	// RetriesUS are the waits before the attempts that a run does not wait
	// for: number of attempts made → the longest wait. Other deliveries must
	// have ended when the run does.
	RetriesUS map[int]int64 `json:"retries_us,omitempty"`
}

// Hook is a webhook, as it was made.
type Hook struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Tenant string   `json:"tenant"`
	Agents []string `json:"agents,omitempty"` // none: all of the tenant's
	Cap    int      `json:"cap"`
	Strict bool     `json:"strict,omitempty"`
	// Off says that it was made disabled.
	Off bool `json:"off,omitempty"`
}

// Change is what a webhook is from then on. It came into force at some moment
// from when it was asked for until it was answered for.
type Change struct {
	Hook   string   `json:"hook"`
	Asked  int64    `json:"asked"`
	Done   int64    `json:"done"`
	On     bool     `json:"on"`
	Gone   bool     `json:"gone,omitempty"` // deleted, for good
	Agents []string `json:"agents,omitempty"`
}

// ViaIntake is the way in by the intake subject, for which the broker answers.
const ViaIntake = "intake"

// Offer is an event on its way in: offered when it is first sent, accepted
// when it is answered for (SMTP 250, API 202, commit of a transaction).
type Offer struct {
	At     int64  `json:"at"`
	Via    string `json:"via"`
	Token  string `json:"token"` // what the event carries and is known by
	Tenant string `json:"tenant"`
	Agent  string `json:"agent"`
	Event  string `json:"event,omitempty"` // its id, where the answer told it
}

// Post is a request that a receiver saw.
type Post struct {
	Hook     string `json:"hook"` // whose URL; "" for one that is nobody's
	Token    string `json:"token"`
	Event    string `json:"event"`
	Delivery string `json:"delivery"`
	Attempt  int    `json:"attempt"`
	Body     string `json:"body"` // its SHA-256, hex
	// Signed says that both signatures verified with the webhook's secret.
	Signed bool `json:"signed"`
	// Start is when the body had come whole, End just before the first byte
	// of the answer, or when the client had left.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// Status that was answered; 0 for none.
	Status int `json:"status"`
	// Left says that the client left before the answer.
	Left bool `json:"left,omitempty"`
}

// OK says that the receiver answered 2xx while the client was there.
func (p *Post) OK() bool { return p.Status >= 200 && p.Status < 300 && !p.Left }

// Fault is something that was done to the system.
type Fault struct {
	Name  string `json:"name"`
	Party string `json:"party"` // the process, "postgres", "nats", "receiver", "tenant"
	Start int64  `json:"start"`
	End   int64  `json:"end"` // when it was mended
	Note  string `json:"note,omitempty"`
}

// Row is a row of webhook_subscriber_deliveries: one that was seen final
// during the run, or any at the end.
type Row struct {
	At       int64  `json:"at"` // of the look
	Delivery string `json:"delivery"`
	Event    string `json:"event"`
	Hook     string `json:"hook"`
	Seq      int64  `json:"seq"`
	Status   string `json:"status"`
	Attempts int    `json:"attempts"`
	Max      int    `json:"max"`
	Finished int64  `json:"finished,omitempty"`
	Due      int64  `json:"due,omitempty"` // next_retry_at of a pending one
	Error    string `json:"error,omitempty"`
}

// End is the last record.
type End struct {
	At     int64 `json:"at"`
	Healed int64 `json:"healed"` // when the last fault was mended
	Outbox int   `json:"outbox"` // rows left in the outbox
}
