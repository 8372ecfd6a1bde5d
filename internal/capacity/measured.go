package capacity

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Cost is the CPU time of 1,000 events or deliveries, in seconds, by part.
type Cost struct {
	Publisher  float64 `json:"publisher"`
	Dispatcher float64 `json:"dispatcher"`
	Postgres   float64 `json:"postgres"`
	Broker     float64 `json:"broker"`
}

// Measured are measured costs: one part for each event, whatever its fan-out,
// and one for each delivery. The envelopes have 2 KB.
type Measured struct {
	Source   string `json:"source"`
	Event    Cost   `json:"event"`
	Delivery Cost   `json:"delivery"`
	// EventLog and DeliveryLog are bytes of Postgres's WAL.
	EventLog    float64 `json:"event_log_bytes"`
	DeliveryLog float64 `json:"delivery_log_bytes"`
	// BrokerWrites is what the broker writes to the disk for an event, in bytes.
	BrokerWrites float64 `json:"broker_write_bytes"`
}

// Reference are the figures of two shared cores that run everything. Postgres's
// part includes the producer's inserts.
//
//   - CPU: W1 (one endpoint) and W2 (100 endpoints) of test/bench, medians of two
//     rounds on a quiet machine. Their difference separates the cost of an event
//     from that of a delivery.
//   - The broker: a stream with atomic batches, as replicated streams have them.
//     The stream of a single server takes .026 s and 2,390 bytes.
//   - The WAL: test/counts, at fan-out 1 and 10.
var Reference = Measured{
	Source:       "test/bench W1 and W2, and test/counts, on 2 shared cores",
	Event:        Cost{Publisher: .017, Dispatcher: .020, Postgres: .066, Broker: .040},
	Delivery:     Cost{Publisher: .001, Dispatcher: .046, Postgres: .023, Broker: .003},
	EventLog:     3120,
	DeliveryLog:  990,
	BrokerWrites: 4950,
}

// The disk space of a row with its indexes, measured on tables that test/bench
// has loaded (200,000 deliveries, 5,000 events of 2 KB). An event's row wastes
// half a page on average. A delivery's row is written twice; the space that
// vacuum does not return is assumed to be a quarter.
const (
	deliveryRow      = 240*1.25 + 140 // bytes
	eventRow         = 340.0          // bytes beside the envelope
	eventPageLoss    = 1.25           // of the envelope
	attemptRow       = 260.0          // bytes, of a failed attempt; assumed
	brokerOverhead   = 340.0          // bytes of a message beside its payload; assumed
	referencePayload = 2.0            // KB, the envelopes of the measurements
)

// Limits of the engine; see internal/dispatch and internal/relay.
const (
	// A dispatcher has as many fast slots as half of its memory suffices for, and
	// so many slow ones with each.
	leastSlots, mostSlots = 64, 4096
	memoryPerSlot         = 7 * 64 << 10 // bytes
	slowSlotsPerSlot      = 4
	// Partitions is the maximum number of dispatchers that have work.
	Partitions = 32
	// webhookInFlight is the default of a webhook's max_in_flight.
	webhookInFlight = 1024
	// slowAfter is when an attempt moves to the slow slots, in ms.
	slowAfter = 1000.0
	// attemptMax is the time-out of an attempt, in ms.
	attemptMax = 15_000.0
	// maxAttempts is the number of attempts of a delivery.
	maxAttempts = 8
	// probeEvery is the longest interval between probes of an open breaker, in ms.
	probeEvery = 60_000.0
	// streamRate is how many messages a second the leader of a stream accepts:
	// atomic batches of 500 messages of 2 KB, written to disk before the ack.
	streamRate = 33_000.0
)

const secondsPerDay = 86_400

// Memory, in bytes:
//
//   - a dispatcher or publisher: peaks of test/bench, with the buffers of a busy one
//   - an attempt in flight: its request and two buffers of the connection (assumed)
//   - a webhook in the registry: 9,900 more raised a dispatcher's peak by 15 MB
const (
	processMemory = 110 << 20
	attemptMemory = 40 << 10
	webhookMemory = 2 << 10
)

// ErrBench says that a file has no results of W1 and W2 of the benchmark.
var ErrBench = errors.New("not the results of the benchmark: W1 and W2 of fanmail are needed, see `make bench`")

// FromBench reads the figures from the JSON that test/bench writes. W1 has the
// cost of one event and one delivery, W2 that of a delivery and a hundredth of an
// event. It returns [ErrBench] if one of them is missing.
func FromBench(results []byte) (Measured, error) {
	var lines []struct {
		Workload string             `json:"workload"`
		System   string             `json:"system"`
		CPU      map[string]float64 `json:"cpu_parts"`
		Written  map[string]float64 `json:"written_bytes_per_delivery"`
	}
	if err := json.Unmarshal(results, &lines); err != nil {
		return Measured{}, fmt.Errorf("%w: %w", ErrBench, err)
	}
	cpu, written := map[string]map[string]float64{}, map[string]map[string]float64{}
	for _, l := range lines {
		if l.System == "fanmail" {
			cpu[l.Workload], written[l.Workload] = l.CPU, l.Written
		}
	}
	if len(cpu["W1"]) == 0 || len(cpu["W2"]) == 0 {
		return Measured{}, ErrBench
	}
	split := func(one, wide float64) (event, delivery float64) {
		event = max(0, (one-wide)/.99)
		return event, max(0, one-event)
	}
	m := Measured{Source: "the benchmark's results"}
	for part, to := range map[string][2]*float64{
		"publisher":  {&m.Event.Publisher, &m.Delivery.Publisher},
		"dispatcher": {&m.Event.Dispatcher, &m.Delivery.Dispatcher},
		"postgres":   {&m.Event.Postgres, &m.Delivery.Postgres},
		"natsd":      {&m.Event.Broker, &m.Delivery.Broker},
	} {
		*to[0], *to[1] = split(cpu["W1"][part], cpu["W2"][part])
	}
	m.EventLog, m.DeliveryLog = split(written["W1"]["postgres"], written["W2"]["postgres"])
	m.BrokerWrites, _ = split(written["W1"]["nats"], written["W2"]["nats"])
	return m, nil
}
