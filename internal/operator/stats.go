package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Stats returns the state of the whole system, at most a second old.
func (v *View) Stats(ctx context.Context) (*SystemStats, error) {
	return v.stats.get(ctx, keep, v.readStats)
}

func (v *View) readStats(ctx context.Context) (*SystemStats, error) {
	streams := make(chan []stream.Use, 1)
	connected := v.js != nil && v.nc.IsConnected()
	go func() {
		var use []stream.Use
		if connected {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			use = stream.Usage(ctx, v.js)
		}
		streams <- use
	}()
	a, err := v.ask(ctx, activity.Request{})
	if err != nil {
		return nil, err
	}
	m := activity.Merge(a.answers, activity.Request{})
	s := &SystemStats{
		At: time.Now().UTC().Truncate(time.Millisecond), Complete: len(a.silent) == 0 && a.broker, Silent: append([]string{}, a.silent...),
		EventsPerSecond: m.Rates.Events, AttemptsPerSecond: m.Rates.Attempts, FailuresPerSecond: m.Rates.Failures, BytesPerSecond: m.Rates.Bytes,
		Latency: percentiles(&m.Lately.Lags), History: history(m.Minutes),
		Backlog: WaitingDeliveries{Queued: m.Holding.Queued, WebhooksBehind: m.Holding.Behind, OldestDueSeconds: m.Holding.OldestDue().Seconds()},
		Slots:   Slots{InFlight: m.Holding.InFlight, Fast: m.Holding.Slots, Slow: m.Holding.SlowSlots},
	}
	if n := m.Lately.Attempts; n > 0 {
		rate := float64(n-m.Lately.Failures) / float64(n)
		s.SuccessRate = &rate
	}
	s.Breakers = breakers(&m.Holding)
	s.Dispatchers, s.Partitions = dispatchers(&a)
	waiting, more, oldest, err := outbox.WaitingOfAll(ctx, v.pool)
	if err != nil {
		return nil, err
	}
	s.Outbox = WaitingEvents{Waiting: waiting, More: more, OldestSeconds: oldest.Seconds()}
	if s.Database, err = v.database(ctx); err != nil {
		return nil, err
	}
	running, err := health.Processes(ctx, v.pool)
	if err != nil {
		return nil, err
	}
	s.Processes = processes(running)
	s.Broker = Broker{Connected: connected, Streams: brokerStreams(<-streams)}
	if connected {
		s.Broker.Version = v.nc.ConnectedServerVersion()
	}
	s.Alerts = alerts(s, &m)
	s.Status = worst(s.Alerts)
	return s, nil
}

func percentiles(l *activity.Lags) *Percentiles {
	var p Percentiles
	for _, q := range []struct {
		part float64
		to   *float64
	}{{0.5, &p.P50}, {0.95, &p.P95}, {0.99, &p.P99}} {
		d, ok := l.Quantile(q.part)
		if !ok {
			return nil
		}
		*q.to = milliseconds(d)
	}
	return &p
}

// milliseconds has microseconds behind the point.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func history(minutes []activity.Minute) []Moment {
	out := make([]Moment, 0, len(minutes))
	for i := range minutes {
		m := &minutes[i]
		moment := Moment{At: time.Unix(m.At, 0).UTC(), Events: m.Events, Delivered: m.Attempts - min(m.Failures, m.Attempts), Failed: m.Failures}
		if d, ok := m.Lags.Quantile(0.95); ok {
			ms := milliseconds(d)
			moment.P95 = &ms
		}
		out = append(out, moment)
	}
	return out
}

func breakers(h *activity.Holding) Breakers {
	out := Breakers{Open: h.OpenBreakers, List: []OpenBreaker{}}
	for _, l := range h.Probing {
		b := OpenBreaker{WebhookID: l.Webhook, TenantID: l.Tenant, FailuresInARow: l.Failures}
		if l.RestsUntil != 0 {
			at := time.UnixMicro(l.RestsUntil).UTC()
			b.RestsUntil = &at
		}
		out.List = append(out.List, b)
	}
	return out
}

func dispatchers(a *asked) ([]Dispatcher, []Partition) {
	names, owns := map[string]string{}, map[string]int{}
	partitions := make([]Partition, 0, len(a.owned))
	for _, r := range a.replicas {
		names[r.ID] = r.Name
	}
	for _, o := range a.owned {
		owns[o.Owner]++
		partitions = append(partitions, Partition{Partition: o.Partition, OwnerID: o.Owner, Owner: names[o.Owner], LeasedUntil: o.Until, Unowned: o.Unowned})
	}
	list := make([]Dispatcher, 0, len(a.replicas))
	for _, r := range a.replicas {
		d := Dispatcher{ID: r.ID, Name: r.Name, AliveUntil: r.AliveUntil, Partitions: owns[r.ID]}
		for i := range a.answers {
			if got := &a.answers[i]; got.ID == r.ID {
				d.Answered = true
				d.Lanes, d.InFlight, d.Queued, d.OldestDue = got.Holding.Lanes, got.Holding.InFlight, got.Holding.Queued, got.Holding.OldestDue().Seconds()
			}
		}
		list = append(list, d)
	}
	return list, partitions
}

func processes(list []health.Process) []Process {
	out := make([]Process, 0, len(list))
	for i := range list {
		p := &list[i]
		o := Process{Kind: p.Kind, Name: p.Name, Version: p.Version, Status: string(health.Overall(p.Components)), Started: p.Started.UTC(), Seen: p.Seen.UTC(), Trouble: []Trouble{}}
		if p.Age > health.Gone {
			o.Status = "gone"
		}
		for j := range p.Components {
			c := &p.Components[j]
			if c.Status == health.OK {
				continue
			}
			t := Trouble{Component: c.Name, Status: string(c.Status), Text: c.Why(), Remedy: c.Remedy}
			if !c.Since.IsZero() {
				at := c.Since.UTC()
				t.Since = &at
			}
			o.Trouble = append(o.Trouble, t)
		}
		out = append(out, o)
	}
	return out
}

func brokerStreams(list []stream.Use) []BrokerStream {
	out := make([]BrokerStream, 0, len(list))
	for _, u := range list {
		s := BrokerStream{Name: u.Stream, Messages: u.Messages, Bytes: u.Bytes, MaxBytes: u.MaxBytes, Replicas: u.Replicas, Waiting: u.Waiting}
		if !u.Oldest.IsZero() {
			s.Oldest = &u.Oldest
		}
		if u.Err != nil {
			s.Error = u.Err.Error()
		}
		out = append(out, s)
	}
	return out
}

const databaseState = `SELECT current_setting('server_version'), current_setting('max_connections')::integer,
	(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
	(SELECT count(*) FROM generate_series(0, 6) AS i
	 WHERE to_regclass('fanmail.events_' || to_char((now() AT TIME ZONE 'UTC')::date + i::integer, 'YYYYMMDD')) IS NOT NULL)`

func (v *View) database(ctx context.Context) (Database, error) {
	var d Database
	if err := v.pool.QueryRow(ctx, databaseState).Scan(&d.Version, &d.MaxConnections, &d.Connections, &d.DaysReady); err != nil {
		return d, fmt.Errorf("read the state of the database: %w", err)
	}
	size, err := v.sizes.get(ctx, time.Minute, func(ctx context.Context) (*int64, error) { // it looks at every file
		var n int64
		if err := v.pool.QueryRow(ctx, `SELECT pg_database_size(current_database())`).Scan(&n); err != nil {
			return nil, fmt.Errorf("read the size of the database: %w", err)
		}
		return &n, nil
	})
	if err != nil {
		return d, err
	}
	d.Bytes = *size
	return d, nil
}
