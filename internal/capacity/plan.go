package capacity

import (
	"cmp"
	"math"
	"slices"
)

// Plan is what a load needs. Rates are per second.
type Plan struct {
	Deliveries float64 `json:"deliveries_per_s"`
	Attempts   float64 `json:"attempts_per_s"`
	InFlight   float64 `json:"attempts_in_flight"`
	// PerWebhook is the maximum rate of one webhook with the default of
	// max_in_flight, in deliveries a second. 0: no bound, because the endpoint
	// answers in no time.
	PerWebhook float64 `json:"deliveries_per_s_per_webhook"`

	Publishers       int     `json:"publishers"`
	PublisherCores   float64 `json:"publisher_cores"` // all of them together, when busy
	Dispatchers      int     `json:"dispatchers"`
	DispatcherCores  float64 `json:"dispatcher_cores"`
	DispatcherMemory float64 `json:"dispatcher_memory_bytes"` // of each
	Slots            int     `json:"slots"`                   // of each, fast ones

	Databases     int     `json:"databases"`
	PostgresCores float64 `json:"postgres_cores"`      // of all databases
	PostgresLog   float64 `json:"postgres_log_mb_s"`   // MB/s of all databases
	PostgresDisk  float64 `json:"postgres_disk_bytes"` // when the retention is full
	PerDatabase   float64 `json:"events_per_s_per_database"`
	BrokerCores   float64 `json:"broker_cores"`        // of the streams' leaders
	BrokerWrites  float64 `json:"broker_disk_mb_s"`    // MB/s of each node
	BrokerDisk    float64 `json:"broker_disk_bytes"`   // of each node
	BrokerNetwork float64 `json:"broker_network_mb_s"` // MB/s in and out of the leader

	// Limits are the resources that more replicas do not extend, in the order in
	// which they saturate.
	Limits []Limit `json:"limits"`
}

// Limit is a resource and the load that it can carry.
type Limit struct {
	Resource string  `json:"resource"`
	Used     float64 `json:"used"`  // share of it
	Times    float64 `json:"times"` // the load at the planned share, as a multiple of the present load
	Then     string  `json:"then"`  // what to do above that load
}

// New calculates the plan. It returns a [*ValueError] for a value out of its
// range.
func New(l Load, m Machines, c Measured) (Plan, error) {
	if err := validate(l, m); err != nil {
		return Plan{}, err
	}
	var p Plan
	events := l.EventsPerSecond
	p.Deliveries = events * l.FanOut
	failed := p.Deliveries * l.Failing * maxAttempts
	p.Attempts = p.Deliveries*(1-l.Failing) + failed

	// Assumption: half of an event's cost grows with its payload.
	size := .5 + .5*l.PayloadKB/referencePayload
	perSecond := func(event, delivery float64) float64 { return (events*event*size + p.Attempts*delivery) / 1000 }
	p.PublisherCores = perSecond(c.Event.Publisher, c.Delivery.Publisher)
	p.DispatcherCores = perSecond(c.Event.Dispatcher, c.Delivery.Dispatcher)
	p.PostgresCores = perSecond(c.Event.Postgres, c.Delivery.Postgres)
	p.BrokerCores = perSecond(c.Event.Broker, c.Delivery.Broker)

	p.Slots = Slots(int64(m.MemoryMB * 1e6))
	fast, slow := inFlight(l, p.Attempts)
	p.InFlight = fast + slow
	if l.LatencyMS > 0 {
		// The window grows until the endpoint slows down. No tenant takes more than half of the slots.
		p.PerWebhook = math.Min(webhookInFlight, float64(slotsFor(l.LatencyMS, p.Slots)/2)) * 1000 / l.LatencyMS
	}
	p.Publishers = atLeast(2, p.PublisherCores/m.Busy/m.Cores)
	p.Dispatchers = atLeast(2, p.DispatcherCores/m.Busy/m.Cores, fast/m.Busy/float64(p.Slots), slow/m.Busy/float64(slowSlotsPerSlot*p.Slots))
	p.DispatcherMemory = processMemory + p.InFlight/float64(p.Dispatchers)*(attemptMemory+l.PayloadKB*1024) + l.Webhooks*webhookMemory

	payload := l.PayloadKB * 1024
	grown := payload / (referencePayload * 1024)
	p.PostgresLog = (events*c.EventLog*(.25+.75*grown) + p.Deliveries*c.DeliveryLog + failed*attemptRow*2) / 1e6
	aDay := events*(payload*eventPageLoss+eventRow) + p.Deliveries*deliveryRow + failed*attemptRow
	p.PostgresDisk = aDay * secondsPerDay * l.RetentionDays
	p.BrokerWrites = events * (c.BrokerWrites - referencePayload*1024 + payload) / 1e6
	p.BrokerDisk = events * (payload + brokerOverhead) * secondsPerDay * l.BrokerDays
	// An event comes in once and goes out once to each other replica and to one
	// dispatcher. It travels once more through DELIVERIES to each other owner of
	// one of its webhooks.
	others := math.Min(l.FanOut, Partitions) * (1 - 1/float64(p.Dispatchers))
	p.BrokerNetwork = events * (payload + brokerOverhead) * (2 + m.Replicas - 1 + 2*others) / 1e6

	limit := func(resource string, used float64, then string) {
		p.Limits = append(p.Limits, Limit{Resource: resource, Used: used, Times: m.Busy / used, Then: then})
	}
	const place = "place the tenants on more databases: fanmail capacity place"
	limit("Postgres's cores", p.PostgresCores/m.PostgresCores, place)
	limit("Postgres's log", p.PostgresLog/m.PostgresLogMB, place)
	limit("Postgres's disk", p.PostgresDisk/1e12/m.PostgresDiskTB, "a shorter retention, or "+place)
	limit("the broker's disk space", p.BrokerDisk/1e12/m.BrokerDiskTB, "a shorter --events-max-age: delivery needs hours of it")
	limit("the leader of MAIL_EVENTS, messages", events/streamRate, "a broker for each database")
	limit("the broker's cores", p.BrokerCores/m.BrokerCores, "larger nodes, then a broker for each database")
	limit("the broker's disks", p.BrokerWrites/m.BrokerDiskMB, "faster disks, then a broker for each database")
	limit("partitions, one dispatcher each", float64(p.Dispatchers)/Partitions*m.Busy, "more cores a dispatcher")
	slices.SortStableFunc(p.Limits, func(a, b Limit) int { return cmp.Compare(a.Times, b.Times) })
	p.Databases = atLeast(1, p.PostgresCores/m.Busy/m.PostgresCores, p.PostgresLog/m.Busy/m.PostgresLogMB, p.PostgresDisk/1e12/m.Busy/m.PostgresDiskTB)
	p.PerDatabase = events / float64(p.Databases)
	return p, nil
}

// inFlight returns the number of attempts in flight, in fast and in slow slots: the rate of attempts times their duration.
// A lane whose endpoint takes over a second uses slow slots. A hanging endpoint has its breaker open, so that one attempt
// at a time probes it.
func inFlight(l Load, attempts float64) (fast, slow float64) {
	busy := attempts * l.LatencyMS / 1000
	probes := l.Hanging / (probeEvery + attemptMax) * attemptMax
	if l.LatencyMS <= slowAfter {
		return busy, probes
	}
	return 0, busy + probes
}

// Slots returns the default of --slots for a memory limit in bytes. File descriptors may allow fewer.
func Slots(memory int64) int {
	return int(min(max(memory/2/memoryPerSlot, leastSlots), mostSlots))
}

// slotsFor returns the number of slots for endpoints of a latency in ms, of a dispatcher with so many fast slots.
func slotsFor(latency float64, slots int) int {
	if latency <= slowAfter {
		return slots
	}
	return slowSlotsPerSlot * slots
}

// atLeast returns the smallest whole number that is not below any of them.
func atLeast(least float64, wants ...float64) int {
	for _, w := range wants {
		least = math.Max(least, w)
	}
	return int(math.Ceil(least - 1e-9))
}
