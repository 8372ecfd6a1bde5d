package main

import (
	"context"
	"crypto/md5" //nolint:gosec // names, not secrets
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// State is what the tables hold before a workload begins. The zero value is empty tables.
type State struct {
	// History is the number of delivered rows. Half of them are of today, in the partition of new
	// rows; the others are of the 29 days before. Their webhooks are the hundred of [hundred] and 900
	// others. Their events are missing: 10 M events of 2 KB would measure the disk, and nothing reads
	// the event of a delivery that has ended.
	History int
	// Due is the number of due rows, of 200 webhooks whose endpoint refuses every connection. Their
	// events are present; each is for all 200.
	Due int
	// Webhooks is the number of webhooks, 50 for each tenant, that get no events.
	Webhooks int
	// OldDay is the number of delivered rows of a day past retention.
	OldDay int
}

// scaled returns the state with its sizes multiplied.
func (s State) scaled(by float64) State {
	for _, n := range []*int{&s.History, &s.Due, &s.Webhooks, &s.OldDay} {
		*n = int(float64(*n) * by)
	}
	return s
}

// about describes the state for printing; "" for empty tables.
func (s State) about() string {
	var of []string
	for _, part := range []struct {
		n    int
		what string
	}{{s.History, "delivered"}, {s.Due, "due"}, {s.Webhooks, "webhooks without events"}, {s.OldDay, "of an old day"}} {
		if part.n > 0 {
			of = append(of, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if len(of) == 0 {
		return ""
	}
	return " (" + strings.Join(of, ", ") + ")"
}

const (
	historyHooks = 1000
	historyDays  = 30
	dueHooks     = 200
	// oldDays is the age of the day past retention.
	oldDays = 40
	// refusing is an address where no server listens: the discard port.
	refusing = "http://127.0.0.1:65535/"
)

// tenantID and webhookID derive ids from names, so that history can be loaded before the webhooks
// exist.
func tenantID(name string) events.TenantID   { return md5.Sum([]byte("tenant " + name)) } //nolint:gosec // as above
func webhookID(path string) events.WebhookID { return md5.Sum([]byte(path)) }             //nolint:gosec // as above
func oldDay(now time.Time) (first time.Time) {
	return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -oldDays)
}

func dayTable(table string, d time.Time) string {
	return "fanmail." + table + "_" + d.Format("20060102")
}

// template returns a data directory below cache that holds the state, and creates it if missing. It is
// valid for one day, because rows have dates, and for one schema.
func (s State) template(ctx context.Context, cache string) (string, error) {
	schema, err := migrations.Version()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("state-%s-%d-h%d-p%d-w%d-o%d", time.Now().UTC().Format("20060102"), schema, s.History, s.Due, s.Webhooks, s.OldDay)
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // Postgres's user walks through it
		return "", fmt.Errorf("load the tables: %w", err)
	}
	making, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return "", fmt.Errorf("load the tables: %w", err)
	}
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.Chmod(making, 0o755); err != nil { //nolint:gosec // as above
		return "", fmt.Errorf("load the tables: %w", err)
	}
	began := time.Now()
	fmt.Fprintf(os.Stderr, "  loading %+v\n", s)
	if err := s.load(ctx, making); err != nil {
		return "", fmt.Errorf("load the tables: %w", err)
	}
	fmt.Fprintf(os.Stderr, "  loaded in %.0f s\n", time.Since(began).Seconds())
	if err := os.Rename(making, dir); err != nil {
		return "", fmt.Errorf("load the tables: %w", err)
	}
	return dir, nil
}

// copyTree copies a directory with its owners, by reference if the file system can.
func copyTree(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", from+"/.", to).CombinedOutput() //nolint:gosec // our own directories
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// load creates a database cluster below dir that holds the state. It syncs once, at the end. Tables
// and indexes are the product's own, filled row by row.
func (s State) load(ctx context.Context, dir string) error {
	server, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir, Settings: map[string]string{
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "64GB", "checkpoint_timeout": "1h",
		"autovacuum": "off", "shared_buffers": "1GB", "maintenance_work_mem": "256MB",
	}})
	if err != nil {
		return err
	}
	defer server.Stop()
	pool, err := pgxpool.New(ctx, server.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer pool.Close()
	if err := migrations.Up(ctx, pool); err != nil {
		return err
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	if _, err := pool.Exec(ctx, `SELECT fanmail.make_partitions($1::date, $2)`, today.AddDate(0, 0, 1-historyDays), historyDays); err != nil {
		return fmt.Errorf("make the days before: %w", err)
	}
	if s.History > 0 {
		// Today up to a minute ago, so that no row lies in the future.
		if err := history(ctx, pool, s.History/2, today, time.Now().Add(-time.Minute)); err != nil {
			return err
		}
		for d := 1; d < historyDays; d++ {
			from := today.AddDate(0, 0, -d)
			if err := history(ctx, pool, s.History/2/(historyDays-1), from, from.AddDate(0, 0, 1)); err != nil {
				return err
			}
		}
	}
	for _, more := range []func(context.Context, *pgxpool.Pool) error{s.loadDue, s.loadWebhooks, s.loadOldDay} {
		if err := more(ctx, pool); err != nil {
			return err
		}
	}
	for _, statement := range []string{`VACUUM (FREEZE, ANALYZE)`, `CHECKPOINT`} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// history inserts n delivered rows whose times are spread evenly, the earlier and the later half at the same time.
func history(ctx context.Context, pool *pgxpool.Pool, n int, from, to time.Time) error {
	hooks := make([]events.WebhookID, historyHooks)
	for i := range hooks {
		hooks[i] = webhookID(hundredPath(i))
	}
	half := from.Add(to.Sub(from) / 2)
	group, working := errgroup.WithContext(ctx)
	for _, part := range []struct {
		n        int
		from, to time.Time
	}{{n / 2, from, half}, {n - n/2, half, to}} {
		group.Go(func() error {
			_, err := pool.Exec(working, insertHistory, part.n, part.from, part.to, hooks, tenantID(hundredTenant))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("insert history of %s: %w", from.Format(time.DateOnly), err)
	}
	return nil
}

const insertHistory = `
INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, last_attempt_at, finished_at,
	expires_at, seq, attempts, max_attempts, last_status_code, status, event_type)
SELECT (ms || substr(hash, 1, 20))::uuid, at, ($4::uuid[])[1 + i % array_length($4, 1)], $5, (ms || substr(hash, 13, 20))::uuid, at,
	at + interval '5 ms', at + interval '5 ms', at + interval '30 days', i, 1, 8, 200, 'delivered', 'email.received'
FROM (SELECT *, md5(i::text) AS hash FROM ` + evenly + `) AS h`

// evenly selects $1 times from $2 to $3, and the prefix of an id for each. As in the product, ids
// begin with the time, so that rows of one time are neighbours in every index.
const evenly = `(SELECT i, at, lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms
      FROM (SELECT i, $2::timestamptz + ($3::timestamptz - $2::timestamptz) * (i::float8 / $1) AS at FROM generate_series(0, $1::int - 1) AS i) AS t) AS evenly`

// The events came throughout the day, and each is due to all the dead webhooks since.
const insertDueEvents = `
INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
SELECT (ms || substr(md5('event ' || i), 1, 20))::uuid, at, $4, 'email.received', i,
	convert_to('{"type":"email.received","data":{"text":"' || $5 || '"}}', 'UTF8')
FROM ` + evenly

const insertDue = `
INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
SELECT (substr(replace(id::text, '-', ''), 1, 12) || substr(md5(seq || ' to ' || webhook), 1, 20))::uuid, created_at, webhook, $1, id, created_at,
	created_at, created_at + interval '30 days', seq, 8, type
FROM fanmail.events, unnest($2::uuid[]) AS webhook WHERE tenant_id = $1 ORDER BY created_at`

func (s State) loadDue(ctx context.Context, pool *pgxpool.Pool) error {
	if s.Due == 0 {
		return nil
	}
	hooks := make([]events.WebhookID, dueHooks)
	for i := range hooks {
		hooks[i] = webhookID(fmt.Sprintf("/dead/%d", i))
	}
	now := time.Now().UTC()
	tenant, from, to := tenantID("dead"), now.Truncate(24*time.Hour), now.Add(-time.Minute)
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'dead')`, []any{tenant}},
		{
			`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) SELECT id, $1, $3, '{email.received}', $4 FROM unnest($2::uuid[]) AS id`,
			[]any{tenant, hooks, refusing, signature.NewSecret()},
		},
		{insertDueEvents, []any{s.Due / dueHooks, from, to, tenant, strings.ReplaceAll(filler(0, 2000), "\n", " ")}},
		{insertDue, []any{tenant, hooks}},
	} {
		if _, err := pool.Exec(ctx, step.sql, step.args...); err != nil {
			return fmt.Errorf("insert the due rows: %w", err)
		}
	}
	return nil
}

func (s State) loadWebhooks(ctx context.Context, pool *pgxpool.Pool) error {
	if s.Webhooks == 0 {
		return nil
	}
	for _, sql := range []string{
		`INSERT INTO fanmail.tenants (id, name) SELECT md5('quiet ' || i)::uuid, 'quiet ' || i FROM generate_series(0, ($1::int - 1) / 50) AS i WHERE $2 <> ''`,
		`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, filter_agent_ids, signing_secret)
		 SELECT md5('quiet webhook ' || i)::uuid, md5('quiet ' || i / 50)::uuid, 'https://quiet.example.com/' || i, '{email.received}', ARRAY['agent' || i || '@quiet.example.com'], $2
		 FROM generate_series(0, $1::int - 1) AS i`,
	} {
		if _, err := pool.Exec(ctx, sql, s.Webhooks, signature.NewSecret()); err != nil {
			return fmt.Errorf("insert webhooks: %w", err)
		}
	}
	return nil
}

// loadOldDay leaves the day's partition detached; else the first round of maintenance would drop it.
// See [attachOldDay].
func (s State) loadOldDay(ctx context.Context, pool *pgxpool.Pool) error {
	if s.OldDay == 0 {
		return nil
	}
	day := oldDay(time.Now())
	if _, err := pool.Exec(ctx, `SELECT fanmail.make_partitions($1::date, 1)`, day); err != nil {
		return fmt.Errorf("make the old day: %w", err)
	}
	if err := history(ctx, pool, s.OldDay, day, day.AddDate(0, 0, 1)); err != nil {
		return err
	}
	child := dayTable("webhook_subscriber_deliveries", day)
	for _, sql := range []string{
		// With this constraint ATTACH does not scan the rows.
		fmt.Sprintf(`ALTER TABLE %s ADD CHECK (created_at >= '%s' AND created_at < '%s')`, child, day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339)),
		`ALTER TABLE fanmail.webhook_subscriber_deliveries DETACH PARTITION ` + child,
	} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("detach the old day: %w", err)
		}
	}
	return nil
}

func attachOldDay(ctx context.Context, pool *pgxpool.Pool) error {
	day := oldDay(time.Now())
	_, err := pool.Exec(ctx, fmt.Sprintf(`ALTER TABLE fanmail.webhook_subscriber_deliveries ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`,
		dayTable("webhook_subscriber_deliveries", day), day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339)))
	if err != nil {
		return fmt.Errorf("attach the old day: %w", err)
	}
	return nil
}
