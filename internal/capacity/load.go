package capacity

import (
	"fmt"
	"math"
)

// Load is the load to plan for.
type Load struct {
	EventsPerSecond float64 `json:"events_per_s"`
	// FanOut is how many webhooks an event matches, on average.
	FanOut float64 `json:"fan_out"`
	// PayloadKB is the size of an envelope.
	PayloadKB     float64 `json:"payload_kb"`
	RetentionDays float64 `json:"retention_days"`
	// BrokerDays is how long the broker keeps relayed events.
	BrokerDays float64 `json:"broker_days"`
	// Failing is the share of deliveries whose attempts all fail.
	Failing float64 `json:"failing"`
	// LatencyMS is the response time of an endpoint.
	LatencyMS float64 `json:"latency_ms"`
	// Hanging is how many endpoints never answer.
	Hanging  float64 `json:"hanging"`
	Webhooks float64 `json:"webhooks"`
}

// Machines are the machines to plan with.
type Machines struct {
	// Busy is the planned share of a resource, above 0 and at most 1. Above it,
	// latencies grow.
	Busy float64 `json:"busy"`
	// Cores are those of a dispatcher's or a publisher's machine; the next two
	// are those of Postgres and of each NATS node.
	Cores         float64 `json:"cores"`
	PostgresCores float64 `json:"postgres_cores"`
	BrokerCores   float64 `json:"broker_cores"`
	// MemoryMB is the memory limit of a dispatcher (GOMEMLIMIT), in MB. Its slots
	// follow from it.
	MemoryMB float64 `json:"memory_mb"`
	// PostgresLogMB and BrokerDiskMB are the write rates of the disks, in MB/s.
	PostgresLogMB  float64 `json:"postgres_log_mb_per_s"`
	BrokerDiskMB   float64 `json:"broker_disk_mb_per_s"`
	PostgresDiskTB float64 `json:"postgres_disk_tb"`
	BrokerDiskTB   float64 `json:"broker_disk_tb"`
	// Replicas of the streams.
	Replicas float64 `json:"stream_replicas"`
}

// ValueError is a value out of its range.
type ValueError struct{ Name, Reason string }

// Error returns the name and the reason.
func (e *ValueError) Error() string { return e.Name + " " + e.Reason }

func validate(l Load, m Machines) error {
	for _, v := range []struct {
		name  string
		value float64
		most  float64
		zero  bool // is allowed
	}{
		{"events a second", l.EventsPerSecond, 1e7, false},
		{"fan-out", l.FanOut, 1e6, true},
		{"payload", l.PayloadKB, 256, false}, // the limit of an envelope
		{"retention", l.RetentionDays, 3650, false},
		{"broker's retention", l.BrokerDays, 3650, false},
		{"share of failing deliveries", l.Failing, 1, true},
		{"latency", l.LatencyMS, attemptMax, true},
		{"hanging endpoints", l.Hanging, 1e8, true},
		{"webhooks", l.Webhooks, 1e8, true},
		{"busy share", m.Busy, 1, false},
		{"cores", m.Cores, 1024, false},
		{"memory", m.MemoryMB, 1e6, false},
		{"Postgres's cores", m.PostgresCores, 1024, false},
		{"broker's cores", m.BrokerCores, 1024, false},
		{"Postgres's log", m.PostgresLogMB, 1e6, false},
		{"broker's disk", m.BrokerDiskMB, 1e6, false},
		{"Postgres's disk", m.PostgresDiskTB, 1e6, false},
		{"broker's disk space", m.BrokerDiskTB, 1e6, false},
		{"stream replicas", m.Replicas, 5, false},
	} {
		switch {
		case math.IsNaN(v.value) || v.value < 0 || v.value == 0 && !v.zero:
			return &ValueError{v.name, fmt.Sprintf("is %g; it must be above zero", v.value)}
		case v.value > v.most:
			return &ValueError{v.name, fmt.Sprintf("is %g; the most is %g", v.value, v.most)}
		}
	}
	return nil
}
