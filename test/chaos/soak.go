package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	soakRate  = 300 // deliveries a second
	soakHooks = 3   // webhooks, each of which gets every event
	// soakSlots is the number of "days", that is partitions, of a soak.
	soakSlots = 30
	// soakKept is how many of them retention keeps.
	soakKept = 5
	// soakStream is how many bytes of events the broker keeps.
	soakStream = 64 << 20
)

// shortDays are patches that shorten a day of retention to slot. The 30 days become soakKept slots,
// and so do the 48 hours of agents' own webhooks.
func shortDays(slot time.Duration) []patch {
	return []patch{
		{"subscribers/delivery.go", "Retention = 30 * 24 * time.Hour", fmt.Sprintf("Retention = time.Duration(%d)", soakKept*slot)},
		{"outbox/retention.go", "Retention = 30 * 24 * time.Hour", fmt.Sprintf("Retention = time.Duration(%d)", soakKept*slot)},
		{"internal/mailbox/retention.go", "Retention = 30 * 24 * time.Hour", fmt.Sprintf("Retention = time.Duration(%d)", soakKept*slot)},
		{"internal/agentwebhook/delivery.go", "DeliveryTTL = 48 * time.Hour", fmt.Sprintf("DeliveryTTL = time.Duration(%d)", soakKept*slot)},
		{"internal/pg/partition.go", `time.Parse("20060102", `, `time.Parse("20060102150405", `},
		{"internal/pg/partition.go", "Truncate(24 * time.Hour).Add(-keep - 24*time.Hour)", fmt.Sprintf("Truncate(%d).Add(-keep - %d)", slot, slot)},
		{"internal/dispatch/maintenance.go", "o.Every = 5 * time.Minute", fmt.Sprintf("o.Every = %d", slot/4)},
	}
}

// shortDaysFunction rewrites fanmail.make_partitions to make partitions of one slot each, from the
// previous one to eight ahead.
func shortDaysFunction(text string, slot time.Duration) (string, error) {
	every := fmt.Sprintf("interval '%d seconds'", int(slot.Seconds()))
	for _, p := range [][2]string{
		{"day    date;", "day    timestamptz;"},
		{"SELECT from_day + i FROM generate_series(0, days - 1) AS i LOOP", "SELECT date_bin(" + every + ", now(), 'epoch') + (i - 1) * " + every + " FROM generate_series(0, 9) AS i LOOP"},
		{"to_char(day, 'YYYYMMDD')", "to_char(day AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS')"},
		{"day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'", "day, day + " + every},
	} {
		if n := strings.Count(text, p[0]); n != 1 {
			return "", fmt.Errorf("shorten the days of fanmail.make_partitions: %q occurs %d times, not once", p[0], n)
		}
		text = strings.Replace(text, p[0], p[1], 1)
	}
	return text, nil
}

// soak runs the whole system without faults, at a steady rate, while partitions rotate. It reports
// whether the system's use of resources stays flat.
func (f *flags) soak(ctx context.Context, dir string, say func(string, ...any)) (bool, error) {
	duration := f.Duration
	if duration == 0 {
		duration = time.Hour
	}
	slot := (duration / soakSlots).Truncate(time.Second)
	if slot < 2*time.Second {
		return false, fmt.Errorf("--duration of a soak must be at least %s: it has %d partitions of whole seconds", soakSlots*2*time.Second, soakSlots)
	}
	// The broker keeps 30 days of events, which would keep growing; limit them by bytes.
	r, err := newRig(ctx, dir, shortDays(slot), say, "FANMAIL_EVENTS_MAX_BYTES="+strconv.Itoa(soakStream))
	var s *soaking
	if err == nil {
		s, err = r.soak(ctx, duration, slot)
	}
	if err := errors.Join(err, r.close()); err != nil {
		return false, err
	}
	curves := s.curves()
	text, flat := summary(curves)
	missing, twice := s.target.count(s.serial.Load())
	fmt.Printf("\n%s\n%d events offered in %s, %.0f deliveries/s; %d deliveries missing, %d POSTs too many, %d that did not verify\n",
		text, s.serial.Load(), duration, s.rate(), missing, twice, s.target.unsigned.Load())
	for _, strange := range r.strange {
		fmt.Println("STRANGE:", strange)
	}
	if f.Plot != "" {
		if err := paint(f.Plot, curves); err != nil {
			return false, err
		}
	}
	return flat && missing == 0 && s.target.unsigned.Load() == 0 && len(r.strange) == 0, nil
}

// roll replaces the partitions of days by short ones.
func (r *rig) roll(ctx context.Context, slot time.Duration) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT c.oid::regclass::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relname ~ '_[0-9]{8}$'`)
		if err != nil {
			return fmt.Errorf("list the days: %w", err)
		}
		days, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("list the days: %w", err)
		}
		if _, err := tx.Exec(ctx, "DROP TABLE "+strings.Join(days, ", ")); err != nil {
			return fmt.Errorf("drop the days: %w", err)
		}
		var text string
		const name = "fanmail.make_partitions(date, integer)"
		if err := tx.QueryRow(ctx, `SELECT pg_get_functiondef($1::regprocedure)`, name).Scan(&text); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if text, err = shortDaysFunction(text, slot); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, text); err != nil {
			return fmt.Errorf("replace %s: %w", name, err)
		}
		if _, err := tx.Exec(ctx, `SELECT fanmail.make_partitions(current_date, 1)`); err != nil {
			return fmt.Errorf("make short days: %w", err)
		}
		return nil
	})
}

func (r *rig) soak(ctx context.Context, duration, slot time.Duration) (*soaking, error) {
	if err := r.roll(ctx, slot); err != nil {
		return nil, err
	}
	record, err := os.Create(filepath.Join(r.dir, "samples.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("record samples: %w", err)
	}
	defer func() { _ = record.Close() }()
	s := &soaking{r: r, duration: duration, record: json.NewEncoder(record)}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	defer s.target.close()
	r.say("%d deliveries a second for %s, partitions of %s", soakRate, duration, slot)
	during, over := context.WithTimeout(ctx, duration)
	defer over()
	s.began = time.Now()
	if err := s.run(during, ctx); err != nil {
		return nil, err
	}
	r.say("waiting for the last deliveries")
	r.await(ctx, 5*time.Minute)
	r.stop(ctx)
	return s, ctx.Err()
}

// settle makes a tenant, an agent and the webhooks.
func (s *soaking) settle(ctx context.Context) error {
	var err error
	if s.target, err = startTarget(ctx, int(s.duration.Seconds()+60)*soakRate/soakHooks); err != nil {
		return err
	}
	operator, err := tenancy.BootstrapOperatorKey(ctx, s.r.pool)
	if err != nil {
		return err
	}
	var made struct{ ID, Secret string }
	if err := s.r.ask(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "soak"}, &made); err != nil {
		return err
	}
	s.tenant = &tenant{name: "soak", id: made.ID, agents: []string{"robot@soak.example.com"}}
	if err := s.r.ask(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": s.tenant.id}, &made); err != nil {
		return err
	}
	s.tenant.key = made.Secret
	domain := map[string]any{"tenant_id": s.tenant.id, "domain": "soak.example.com"}
	if err := s.r.ask(ctx, operator, http.MethodPost, "/v1/domains", domain, &struct{}{}); err != nil {
		return err
	}
	if err := s.r.ask(ctx, s.tenant.key, http.MethodPost, "/v1/agents", map[string]any{"address": s.tenant.agents[0]}, &struct{}{}); err != nil {
		return err
	}
	for n := range soakHooks {
		var made struct {
			Secret string `json:"signing_secret"`
		}
		in := map[string]any{"url": s.target.url(n), "events": []events.Type{events.EmailReceived}}
		if err := s.r.ask(ctx, s.tenant.key, http.MethodPost, "/v1/webhooks", in, &made); err != nil {
			return err
		}
		s.target.secrets[n] = made.Secret
	}
	return nil
}
