package capacity

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Cost is CPU seconds for 1,000 of something, by part.
type Cost struct {
	Publisher  float64 `json:"publisher"`
	Dispatcher float64 `json:"dispatcher"`
	Postgres   float64 `json:"postgres"`
	Broker     float64 `json:"broker"`
}

// Measured is what a delivery costs: a share for each event, whatever its
// fan-out, and a share for each delivery. Payloads are of 2 KB.
type Measured struct {
	Source   string `json:"source"`
	Event    Cost   `json:"event"`
	Delivery Cost   `json:"delivery"`
	// EventLog and DeliveryLog are bytes of Postgres's log.
	EventLog    float64 `json:"event_log_bytes"`
	DeliveryLog float64 `json:"delivery_log_bytes"`
	// BrokerWrites is what the broker hands to the disk for an event, bytes.
	BrokerWrites float64 `json:"broker_write_bytes"`
}

// Reference are the figures of two shared cores with everything on them, the
// producer's inserts in Postgres's. CPU: W1 (one endpoint) and W2 (100) of
// test/bench, the medians of two rounds on a quiet machine; their difference
// tells an event's part from a delivery's. The broker's CPU and writes are those
// of a stream with atomic batches, as replicated ones have them; the stream of a
// single server takes .026 s and 2,390 bytes. The log: test/counts, at fan-out 1
// and 10.
var Reference = Measured{
	Source:       "test/bench W1 and W2, and test/counts, on 2 shared cores",
	Event:        Cost{Publisher: .017, Dispatcher: .020, Postgres: .066, Broker: .040},
	Delivery:     Cost{Publisher: .001, Dispatcher: .046, Postgres: .023, Broker: .003},
	EventLog:     3120,
	DeliveryLog:  990,
	BrokerWrites: 4950,
}

// What a row takes on the disk, with its indexes: measured on tables loaded by
// test/bench (200,000 deliveries, 5,000 events of 2 KB). Half of a page more
// than its payload is what an event's row costs on average; a delivery's row is
// written twice, and what vacuum leaves behind is taken for a quarter.
const (
	deliveryRow      = 240*1.25 + 140 // bytes
	eventRow         = 340.0          // bytes beside the envelope
	eventPageLoss    = 1.25           // of the envelope
	attemptRow       = 260.0          // bytes, of a failed attempt; assumed
	brokerOverhead   = 340.0          // bytes of a message beside its payload; assumed
	referencePayload = 2.0            // KB, of what was measured
)

// Limits of the code; see dispatch and outbox.
const (
	// FastSlots and SlowSlots are a dispatcher's POSTs in flight: --slots and
	// --slow-slots at their defaults.
	FastSlots = 512
	SlowSlots = 4 * FastSlots
	// Partitions bound the dispatchers that have work.
	Partitions = 32
	// webhookInFlight is a webhook's max_in_flight unless it says otherwise.
	webhookInFlight = 32
	// slowAfter is when an attempt moves to the slow slots, in ms.
	slowAfter = 1000.0
	// attemptMax is a whole attempt's time-out, in ms.
	attemptMax = 15_000.0
	// maxAttempts of a delivery.
	maxAttempts = 8
	// probeEvery is how often a lane whose breaker is open tries, in ms.
	probeEvery = 60_000.0
	// streamRate is what one stream's leader takes in, messages a second:
	// atomic batches of 500 of 2 KB, written to disk before the answer.
	streamRate = 33_000.0
)

// Memory, bytes: of an idle dispatcher or publisher (peaks of test/bench,
// which hold buffers of a busy one), of an attempt in flight (its request and
// two buffers of the connection; assumed) and of a webhook in the registry
// (9,900 more made a dispatcher's peak 15 MB higher).
const (
	processMemory = 110 << 20
	flightMemory  = 40 << 10
	webhookMemory = 2 << 10
)

// ErrBench says that a file is no result of the benchmark with W1 and W2.
var ErrBench = errors.New("not the results of the benchmark: W1 and W2 of fanmail are needed, see `make bench`")

// FromBench takes the figures from the JSON that test/bench writes. What W1
// costs is an event and a delivery, what W2 costs a delivery and a hundredth of
// an event. It returns [ErrBench] where one of them is missing.
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
