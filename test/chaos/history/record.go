package history

// Kind is the kind of a [Record].
type Kind string

// The kinds of records. Each uses the field of its name.
const (
	KindRun      Kind = "run"
	KindHook     Kind = "hook"
	KindChange   Kind = "change"
	KindOffered  Kind = "offered"
	KindAccepted Kind = "accepted"
	KindPost     Kind = "post"
	KindFault    Kind = "fault"
	KindAttack   Kind = "attack"
	KindSeen     Kind = "seen"
	KindRow      Kind = "row"
	KindEnd      Kind = "end"
)

// Record is one line of the file.
type Record struct {
	Kind Kind  `json:"kind"`
	Run  *Run  `json:"run,omitempty"`
	Hook *Hook `json:"hook,omitempty"`
	// Change of a webhook.
	Change *Change `json:"change,omitempty"`
	Offer  *Offer  `json:"offer,omitempty"` // for offered and accepted
	Post   *Post   `json:"post,omitempty"`
	Fault  *Fault  `json:"fault,omitempty"`
	Attack *Attack `json:"attack,omitempty"`
	Row    *Row    `json:"row,omitempty"` // for seen and row
	End    *End    `json:"end,omitempty"`
}

// Run is the first record: the parameters of the run.
type Run struct {
	At   int64  `json:"at"`
	Seed uint64 `json:"seed"`
	// LeaseUS is the longest lease of a delivery in the build under test, in microseconds.
	LeaseUS int64 `json:"lease_us"`
	// GuardUS is the shortest remaining lease with which a POST may begin, in microseconds.
	GuardUS int64 `json:"guard_us"`
	// RetriesUS are the waits that a run does not wait for: number of attempts made → the longest wait
	// in microseconds. Every other delivery must have ended when the run ends.
	RetriesUS map[int]int64 `json:"retries_us,omitempty"`
}

// Hook is a webhook at its creation.
type Hook struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Tenant string   `json:"tenant"`
	Agents []string `json:"agents,omitempty"` // none: all of the tenant's
	Cap    int      `json:"cap"`
	Strict bool     `json:"strict,omitempty"`
	// Off: it was created disabled.
	Off bool `json:"off,omitempty"`
}

// Change holds a webhook's new settings. They came into force between the request and its answer.
type Change struct {
	Hook   string   `json:"hook"`
	Asked  int64    `json:"asked"`
	Done   int64    `json:"done"`
	On     bool     `json:"on"`
	Gone   bool     `json:"gone,omitempty"` // deleted, for good
	Agents []string `json:"agents,omitempty"`
}

// The ways in. On ViaIntake, the intake subject, and ViaEdge, SMTP without a database, the broker acknowledges.
const (
	ViaSMTP   = "smtp"
	ViaEdge   = "edge"
	ViaAPI    = "api"
	ViaIntake = "intake"
)

// WithBroker reports whether only the broker has the event when it is accepted.
func (o *Offer) WithBroker() bool { return o.Via == ViaIntake || o.Via == ViaEdge }

// Offer is an event on its way in. It is offered when it is first sent, and accepted when it is
// acknowledged: SMTP 250, API 202, or the commit of a transaction.
type Offer struct {
	At     int64  `json:"at"`
	Via    string `json:"via"`
	Token  string `json:"token"` // identifies the event; it is part of its data
	Tenant string `json:"tenant"`
	Agent  string `json:"agent"`
	Event  string `json:"event,omitempty"` // the event's id, if the answer held it
	Tries  int    `json:"tries,omitempty"` // until it was accepted
	Error  string `json:"error,omitempty"` // of the last try that failed
}

// Post is a request that a receiver got.
type Post struct {
	Hook     string `json:"hook"` // of the URL; "" if no webhook has it
	Token    string `json:"token"`
	Event    string `json:"event"`
	Delivery string `json:"delivery"`
	Attempt  int    `json:"attempt"`
	Body     string `json:"body"` // SHA-256 of the body, in hex
	// Signed: both signatures verified with the webhook's secret.
	Signed bool `json:"signed"`
	// Start is when the whole body had arrived. End is just before the first byte of the answer, or
	// when the client disconnected.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// Status of the answer; 0 for none.
	Status int `json:"status"`
	// Left: the client disconnected before the answer.
	Left bool `json:"left,omitempty"`
}

// OK reports whether the receiver answered 2xx before the client disconnected.
func (p *Post) OK() bool { return p.Status >= 200 && p.Status < 300 && !p.Left }

// Fault is a fault that was injected.
type Fault struct {
	Name  string `json:"name"`
	Party string `json:"party"` // the process, "postgres", "nats", "receiver" or "tenant"
	Start int64  `json:"start"`
	End   int64  `json:"end"` // when it was repaired
	Note  string `json:"note,omitempty"`
}

// Attack is what a client did that is no honest sender, and how the attacked process answered. The client used other
// addresses than the honest senders.
type Attack struct {
	Name string `json:"name"`
	// Via is the way in that was attacked: ViaSMTP or ViaAPI.
	Via string `json:"via"`
	// Calm is when the time without faults began that ended with the attack's start.
	Calm  int64 `json:"calm"`
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// Sent counts the requests: connections, mails or HTTP requests. Answered counts the answers to them, and Cut
	// the connections that were closed.
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	Cut      int `json:"cut"`
	// Unanswered counts the requests that waited for half of the attack at its end, and slow bodies that were sent for a
	// minute.
	Unanswered int `json:"unanswered"`
	// Pairs counts pairs of requests with slow bodies: one whose body is read, and a later one that is refused. Late counts
	// those whose refusal came after the end of the other.
	Pairs int `json:"pairs,omitempty"`
	Late  int `json:"late,omitempty"`
	// Refusals and Commands are the most on one connection that had sent no mail.
	Refusals int `json:"refusals"`
	Commands int `json:"commands"`
	// Memory is the largest resident size of the process's own memory, and Limit its GOMEMLIMIT; in bytes.
	Memory int64 `json:"memory"`
	Limit  int64 `json:"limit"`
}

// Row is a row of webhook_subscriber_deliveries: one that was final during the run, or any row at the
// end.
type Row struct {
	At       int64  `json:"at"` // when it was read
	Delivery string `json:"delivery"`
	Event    string `json:"event"`
	Hook     string `json:"hook"`
	Seq      int64  `json:"seq"`
	Status   string `json:"status"`
	Attempts int    `json:"attempts"`
	Max      int    `json:"max"`
	Finished int64  `json:"finished,omitempty"`
	Due      int64  `json:"due,omitempty"` // next_retry_at of a pending row
	Error    string `json:"error,omitempty"`
}

// End is the last record.
type End struct {
	At     int64 `json:"at"`
	Healed int64 `json:"healed"` // when the last fault was repaired
	Outbox int   `json:"outbox"` // rows left in the outbox
}
