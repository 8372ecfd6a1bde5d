package operator

import "time"

// SystemStats is the state of the whole system.
type SystemStats struct {
	At time.Time `json:"at"`
	// Complete is false if a dispatcher did not answer. Its part is missing from all that dispatchers know.
	Complete bool     `json:"complete" doc:"Whether every dispatcher answered; otherwise the figures of some are missing."`
	Silent   []string `json:"silent" doc:"The names of the dispatchers that did not answer."`

	EventsPerSecond   float64      `json:"events_per_second" doc:"Events fanned out a second, in the last minute."`
	AttemptsPerSecond float64      `json:"attempts_per_second" doc:"POSTs that ended a second, in the last minute."`
	FailuresPerSecond float64      `json:"failures_per_second" doc:"Those of them without a 2xx."`
	BytesPerSecond    float64      `json:"bytes_per_second" doc:"Bytes of their bodies a second."`
	SuccessRate       *float64     `json:"success_rate" doc:"The part of the attempts of the last minute that were answered 2xx; null without attempts."`
	Latency           *Percentiles `json:"latency,omitempty" doc:"Milliseconds from an event's commit to the first POST of one of its deliveries, in the last minute; absent without such."`

	Outbox   WaitingEvents     `json:"outbox"`
	Backlog  WaitingDeliveries `json:"backlog"`
	Slots    Slots             `json:"slots"`
	Breakers Breakers          `json:"breakers"`

	Dispatchers []Dispatcher `json:"dispatchers"`
	Partitions  []Partition  `json:"partitions"`
	Processes   []Process    `json:"processes"`
	Broker      Broker       `json:"broker"`
	Database    Database     `json:"database"`

	Status  string   `json:"status" enum:"ok,warning,critical" doc:"The worst severity of the alerts; ok without any."`
	Alerts  []Alert  `json:"alerts"`
	History []Moment `json:"history" doc:"The minutes of the last hour with activity, oldest first, since the dispatchers started; the last one is not over."`
}

// Percentiles of a time, in milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

// WaitingEvents is what waits to be fanned out.
type WaitingEvents struct {
	Waiting       int     `json:"waiting" doc:"Events that are not fanned out yet; at most 10000."`
	More          bool    `json:"more" doc:"There are more than were counted."`
	OldestSeconds float64 `json:"oldest_seconds" doc:"The age of the oldest of them."`
}

// WaitingDeliveries is what waits in lanes and in the table.
type WaitingDeliveries struct {
	Queued           int     `json:"queued" doc:"Deliveries in the dispatchers' memory that wait for a slot."`
	WebhooksBehind   int     `json:"webhooks_behind" doc:"Webhooks with due deliveries that wait in the table."`
	OldestDueSeconds float64 `json:"oldest_due_seconds" doc:"How long the oldest delivery that may be sent has been due. Lanes that rest, are disabled or have their breaker open do not count."`
}

// Slots are the attempts that may be in flight.
type Slots struct {
	InFlight int `json:"in_flight"`
	Fast     int `json:"fast" doc:"Slots for endpoints that answer within a second, of all dispatchers."`
	Slow     int `json:"slow" doc:"Slots for slower endpoints."`
}

// Breakers are the lanes whose circuit breaker is open.
type Breakers struct {
	Open int           `json:"open"`
	List []OpenBreaker `json:"list" doc:"Those with most failures first; at most 30."`
}

// OpenBreaker is a webhook whose endpoint keeps failing.
type OpenBreaker struct {
	WebhookID      string     `json:"webhook_id"`
	TenantID       string     `json:"tenant_id"`
	FailuresInARow int        `json:"failures_in_a_row"`
	RestsUntil     *time.Time `json:"rests_until,omitempty" doc:"When the next attempt is made."`
}

// Dispatcher is a dispatcher that is alive.
type Dispatcher struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	AliveUntil time.Time `json:"alive_until" doc:"It renews this every second."`
	Answered   bool      `json:"answered"`
	Partitions int       `json:"partitions"`
	Lanes      int       `json:"lanes"`
	InFlight   int       `json:"in_flight"`
	Queued     int       `json:"queued"`
	OldestDue  float64   `json:"oldest_due_seconds"`
}

// Partition says who owns a partition of the deliveries.
type Partition struct {
	Partition   int        `json:"partition"`
	OwnerID     string     `json:"owner_id,omitempty"`
	Owner       string     `json:"owner,omitempty" doc:"The name of the dispatcher; absent if it is not alive."`
	LeasedUntil *time.Time `json:"leased_until,omitempty"`
	Unowned     bool       `json:"unowned" doc:"It has had no owner for ten seconds or more."`
}

// Process is a process as it stood at its last beat.
type Process struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Status  string    `json:"status" enum:"ok,degraded,failing,gone" doc:"gone: it has not been seen for half a minute."`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	Trouble []Trouble `json:"trouble" doc:"Its components that are not well."`
}

// Trouble is what is wrong with a component of a process.
type Trouble struct {
	Component string     `json:"component"`
	Status    string     `json:"status" enum:"degraded,failing"`
	Text      string     `json:"text"`
	Remedy    string     `json:"remedy,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
}

// Broker is the state of NATS.
type Broker struct {
	Connected bool           `json:"connected"`
	Version   string         `json:"version,omitempty"`
	Streams   []BrokerStream `json:"streams"`
}

// BrokerStream is a stream's use of its bounds.
type BrokerStream struct {
	Name     string     `json:"name"`
	Messages uint64     `json:"messages"`
	Bytes    uint64     `json:"bytes"`
	MaxBytes int64      `json:"max_bytes" doc:"0: no bound. A full stream drops its oldest messages; no event is lost by that."`
	Replicas int        `json:"replicas"`
	Oldest   *time.Time `json:"oldest,omitempty" doc:"When its oldest message was stored."`
	Waiting  uint64     `json:"waiting,omitempty" doc:"Of MAIL_EVENTS: messages that no dispatcher has taken yet."`
	Error    string     `json:"error,omitempty" doc:"Why it could not be looked up."`
}

// Database is the state of Postgres.
type Database struct {
	Version        string `json:"version"`
	Bytes          int64  `json:"bytes" doc:"The size of the database; up to a minute old."`
	Connections    int    `json:"connections" doc:"Open connections to this database."`
	MaxConnections int    `json:"max_connections" doc:"The server's limit."`
	DaysReady      int    `json:"days_ready" doc:"For how many days from today there are partitions; at most 7."`
}

// Moment is what happened in a minute.
type Moment struct {
	At        time.Time `json:"at"`
	Events    uint64    `json:"events"`
	Delivered uint64    `json:"delivered"`
	Failed    uint64    `json:"failed"`
	P95       *float64  `json:"p95_ms" doc:"Of the time from commit to POST; null without first attempts."`
}

// Query asks who is most active. All fields are required.
type Query struct {
	By     string // [activity.ByTenant], [activity.ByWebhook] or [activity.ByAgent]
	Order  string // one of activity's orders
	Window string // one of [activity.Windows]
	Limit  int    // at most [activity.MostRows]
}

// Top is who is most active.
type Top struct {
	At       time.Time `json:"at"`
	By       string    `json:"by" enum:"tenant,webhook,agent"`
	Order    string    `json:"order" enum:"rate,failures,backlog,slots,bytes"`
	Window   string    `json:"window" enum:"1m,5m"`
	Complete bool      `json:"complete" doc:"Whether every dispatcher answered; otherwise rows and figures can be missing."`
	Silent   []string  `json:"silent" doc:"The names of the dispatchers that did not answer."`
	Data     []TopRow  `json:"data" doc:"The most active first. Each dispatcher names its first 100, so that a tenant or agent that is active on many dispatchers, and among the first of none, can be missing."`
}

// TopRow is a tenant, a webhook or an agent.
type TopRow struct {
	ID                string      `json:"id" doc:"The tenant's id, the webhook's id or the agent's address."`
	TenantID          string      `json:"tenant_id"`
	TenantName        string      `json:"tenant_name,omitempty" doc:"Absent if the tenant is gone."`
	URL               string      `json:"url,omitempty" doc:"The webhook's."`
	Description       string      `json:"description,omitempty" doc:"The webhook's."`
	EventsPerSecond   float64     `json:"events_per_second" doc:"Events fanned out a second; 0 for webhooks."`
	AttemptsPerSecond float64     `json:"attempts_per_second" doc:"POSTs that ended a second. An agent's are those to its own webhook."`
	FailuresPerSecond float64     `json:"failures_per_second" doc:"Those of them without a 2xx."`
	BytesPerSecond    float64     `json:"bytes_per_second" doc:"Bytes that were POSTed a second; for agents, those of their events."`
	InFlight          int         `json:"in_flight" doc:"Slots that it uses now."`
	Backlog           *TopBacklog `json:"backlog,omitempty" doc:"Pending deliveries; absent if it is not among those that are furthest behind."`
}

// TopBacklog is what is pending.
type TopBacklog struct {
	Pending int        `json:"pending" doc:"At most 10000 of each webhook or agent."`
	More    bool       `json:"more" doc:"There are more than were counted."`
	Oldest  *time.Time `json:"oldest_due,omitempty" doc:"When the first of them is or was due."`
}

// Alert is a condition of deploy/observability/alerts.yaml that holds now.
type Alert struct {
	// Name is that of the rule, and of its section in docs/reference/alerts.md.
	Name     string `json:"name" doc:"The name of the alert, which docs/reference/alerts.md explains."`
	Severity string `json:"severity" enum:"warning,critical"`
	Text     string `json:"text"`
}
