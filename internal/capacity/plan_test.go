package capacity_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/capacity"
)

var (
	load = capacity.Load{EventsPerSecond: 1000, FanOut: 3, PayloadKB: 2, RetentionDays: 30, BrokerDays: 30, LatencyMS: 100, Webhooks: 1000}
	room = capacity.Machines{
		Busy: .5, Cores: 4, MemoryMB: 537, PostgresCores: 16, BrokerCores: 4, PostgresLogMB: 200, BrokerDiskMB: 200, PostgresDiskTB: 100, BrokerDiskTB: 100, Replicas: 3,
	}
	// Round figures, so that the sums can be checked by hand.
	round = capacity.Measured{
		Event:    capacity.Cost{Publisher: .1, Dispatcher: .2, Postgres: .3, Broker: .4},
		Delivery: capacity.Cost{Dispatcher: .1, Postgres: .2, Broker: .1},
		EventLog: 3000, DeliveryLog: 1000, BrokerWrites: 5000,
	}
)

func plan(t *testing.T, change func(*capacity.Load, *capacity.Machines)) capacity.Plan {
	t.Helper()
	l, m := load, room
	if change != nil {
		change(&l, &m)
	}
	p, err := capacity.New(l, m, round)
	require.NoError(t, err)
	return p
}

func TestSumsOfAPlan(t *testing.T) {
	t.Parallel()
	p := plan(t, nil)
	require.InDelta(t, 3000, p.Deliveries, 1e-9)
	require.InDelta(t, 3000, p.Attempts, 1e-9)
	require.InDelta(t, 300, p.InFlight, 1e-9, "3,000 a second of a tenth of a second each")
	require.InDelta(t, 2920, p.PerWebhook, 1e-9, "half of 585 slots, a tenth of a second each")
	require.InDelta(t, .1, p.PublisherCores, 1e-9)
	require.InDelta(t, .5, p.DispatcherCores, 1e-9)
	require.InDelta(t, .9, p.PostgresCores, 1e-9)
	require.InDelta(t, .7, p.BrokerCores, 1e-9)
	require.InDelta(t, 6, p.PostgresLog, 1e-9)
	require.InDelta(t, 5, p.BrokerWrites, 1e-9)
	require.Equal(t, []int{2, 2, 1}, []int{p.Publishers, p.Dispatchers, p.Databases}, "two of each, so that one may die")
	// 30 days of 1,000 rows of 2 KB and 3,000 deliveries a second.
	require.InDelta(t, 30*86400.0*(1000*(2048*1.25+340)+3000*440), p.PostgresDisk, 1)
}

func TestMoreLoadNeedsMore(t *testing.T) {
	t.Parallel()
	base := plan(t, nil)
	for name, change := range map[string]func(*capacity.Load, *capacity.Machines){
		"events":  func(l *capacity.Load, _ *capacity.Machines) { l.EventsPerSecond *= 2 },
		"fan-out": func(l *capacity.Load, _ *capacity.Machines) { l.FanOut *= 2 },
		"payload": func(l *capacity.Load, _ *capacity.Machines) { l.PayloadKB *= 2 },
		"failing": func(l *capacity.Load, _ *capacity.Machines) { l.Failing = .1 },
	} {
		p := plan(t, change)
		require.Greater(t, p.PostgresCores, base.PostgresCores, name)
		require.Greater(t, p.PostgresLog, base.PostgresLog, name)
		require.Greater(t, p.PostgresDisk, base.PostgresDisk, name)
		require.Greater(t, p.DispatcherCores, base.DispatcherCores, name)
	}
	failing := plan(t, func(l *capacity.Load, _ *capacity.Machines) { l.Failing = .5 })
	require.InDelta(t, 3000*(.5+.5*8), failing.Attempts, 1e-9, "what fails is tried eight times")
}

func TestSlotsAskForDispatchers(t *testing.T) {
	t.Parallel()
	// 3,000 attempts a second of half a second are 1,500 in flight. At a planned
	// share of one half, a dispatcher with 512 MiB has 292.
	fast := plan(t, func(l *capacity.Load, _ *capacity.Machines) { l.LatencyMS = 500 })
	require.Equal(t, 6, fast.Dispatchers)
	large := plan(t, func(l *capacity.Load, m *capacity.Machines) { l.LatencyMS, m.MemoryMB = 500, 2148 })
	require.Equal(t, 2, large.Dispatchers, "four times the memory, four times the slots")
	require.InDelta(t, 2048, large.PerWebhook, 1e-9, "max_in_flight ends it")
	// Attempts of 5 s have slow slots: 15,000, and a dispatcher has 1,170.
	slow := plan(t, func(l *capacity.Load, _ *capacity.Machines) { l.LatencyMS = 5000 })
	require.Equal(t, 13, slow.Dispatchers)
	require.InDelta(t, 15_000, slow.InFlight, 1e-6)
	require.InDelta(t, 204.8, slow.PerWebhook, 1e-9)
	hanging := plan(t, func(l *capacity.Load, _ *capacity.Machines) { l.Hanging = 75_000 })
	require.InDelta(t, 300+15_000, hanging.InFlight, 1e-6, "each is tried once in 75 s, for 15 s")
}

func TestWhatSaturatesFirstComesFirst(t *testing.T) {
	t.Parallel()
	p := plan(t, nil)
	for i := 1; i < len(p.Limits); i++ {
		require.LessOrEqual(t, p.Limits[i-1].Times, p.Limits[i].Times)
	}
	for name, change := range map[string]func(*capacity.Machines){
		"Postgres's cores":        func(m *capacity.Machines) { m.PostgresCores = .01 },
		"Postgres's log":          func(m *capacity.Machines) { m.PostgresLogMB = .01 },
		"Postgres's disk":         func(m *capacity.Machines) { m.PostgresDiskTB = .01 },
		"the broker's cores":      func(m *capacity.Machines) { m.BrokerCores = .01 },
		"the broker's disks":      func(m *capacity.Machines) { m.BrokerDiskMB = .01 },
		"the broker's disk space": func(m *capacity.Machines) { m.BrokerDiskTB = .01 },
	} {
		p := plan(t, func(_ *capacity.Load, m *capacity.Machines) { change(m) })
		require.Equal(t, name, p.Limits[0].Resource)
		require.Less(t, p.Limits[0].Times, 1.0)
	}
	small := plan(t, func(_ *capacity.Load, m *capacity.Machines) { m.PostgresCores = 1 })
	require.Equal(t, 2, small.Databases, "0.9 of a core, planned to be half busy")
	require.InDelta(t, 500, small.PerDatabase, 1e-9)
}

func TestBadValuesAreNamed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*capacity.Load, *capacity.Machines){
		"events a second is 0; it must be above zero":   func(l *capacity.Load, _ *capacity.Machines) { l.EventsPerSecond = 0 },
		"payload is 300; the most is 256":               func(l *capacity.Load, _ *capacity.Machines) { l.PayloadKB = 300 },
		"share of failing deliveries is 2; the most is": func(l *capacity.Load, _ *capacity.Machines) { l.Failing = 2 },
		"latency is NaN":      func(l *capacity.Load, _ *capacity.Machines) { l.LatencyMS = math.NaN() },
		"busy share is -0.5;": func(_ *capacity.Load, m *capacity.Machines) { m.Busy = -.5 },
	} {
		l, m := load, room
		change(&l, &m)
		_, err := capacity.New(l, m, round)
		var bad *capacity.ValueError
		require.ErrorAs(t, err, &bad, want)
		require.ErrorContains(t, err, want)
	}
}

func TestCostsComeFromTheBenchmark(t *testing.T) {
	t.Parallel()
	m, err := capacity.FromBench([]byte(`[
		{"workload": "W1", "system": "river", "cpu_parts": {"postgres": 9}},
		{"workload": "W1", "system": "fanmail", "cpu_parts": {"postgres": 0.3, "dispatcher": 0.2, "natsd": 0.1, "publisher": 0.05},
		 "written_bytes_per_delivery": {"postgres": 4000, "nats": 5000}},
		{"workload": "W2", "system": "fanmail", "cpu_parts": {"postgres": 0.102, "dispatcher": 0.2, "natsd": 0.001, "publisher": 0.0005},
		 "written_bytes_per_delivery": {"postgres": 1030, "nats": 50}}]`))
	require.NoError(t, err)
	require.InDelta(t, .2, m.Event.Postgres, 1e-9, "0.3 for an event and a delivery, 0.102 for a delivery and a hundredth of an event")
	require.InDelta(t, .1, m.Delivery.Postgres, 1e-9)
	require.InDelta(t, 0, m.Event.Dispatcher, 1e-9)
	require.InDelta(t, .1, m.Event.Broker, 1e-9)
	require.InDelta(t, .05, m.Event.Publisher, 1e-9)
	require.InDelta(t, 3000, m.EventLog, 1e-6)
	require.InDelta(t, 1000, m.DeliveryLog, 1e-6)
	require.InDelta(t, 5000, m.BrokerWrites, 1e-6)
	for _, bad := range []string{"", "{}", "[]", `[{"workload": "W1", "system": "fanmail", "cpu_parts": {"postgres": 1}}]`} {
		_, err := capacity.FromBench([]byte(bad))
		require.ErrorIs(t, err, capacity.ErrBench, bad)
	}
}
