package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"

	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func series(name string, of func(minute float64) float64) curve {
	c := curve{name: name}
	for m := range 60 {
		c.points = append(c.points, plotter.XY{X: float64(m), Y: of(float64(m))})
	}
	return c
}

func TestSoakSeesWhatGrows(t *testing.T) {
	t.Parallel()
	flat := series(seriesTables, func(float64) float64 { return 100 })
	_, good := summary([]curve{flat, series(seriesMemory+"ingest", func(m float64) float64 { return min(m, 10) * 20 })})
	require.True(t, good, "what it takes to get warm is no growth")
	for name, c := range map[string]curve{
		"tables that nobody drops":   series(seriesTables, func(m float64) float64 { return m * 10 }),
		"memory that leaks":          series(seriesMemory+"ingest", func(m float64) float64 { return 50 + 2*m }),
		"goroutines that stay":       series(seriesGoroutines+"api", func(m float64) float64 { return 50 + 4*m }),
		"deliveries that get slower": series(seriesRate, func(m float64) float64 { return 300 - 2*m }),
		"a backlog":                  series(seriesPending, func(m float64) float64 { return 20 * m }),
	} {
		text, good := summary([]curve{flat, c})
		require.False(t, good, name)
		require.Contains(t, text, "NOT FLAT", name)
	}
	_, good = summary(nil)
	require.False(t, good, "no samples prove nothing")
}

func TestSoakCountsWhatIsMissingAndWhatCameTwice(t *testing.T) {
	t.Parallel()
	var tg target
	for n := range tg.seen {
		tg.seen[n] = []uint8{0, 1, 1, 1, 0}
	}
	missing, twice := tg.count(3)
	require.Zero(t, missing+twice)
	tg.seen[0][2], tg.seen[1][3] = 0, 3
	missing, twice = tg.count(3)
	require.Equal(t, 1, missing)
	require.Equal(t, 2, twice)
}

func TestSoakDrawsItsCurves(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "soak.svg")
	require.NoError(t, paint(path, []curve{series(seriesMemory+"ingest", func(m float64) float64 { return m }), series(seriesRate, func(float64) float64 { return 300 })}))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), "ingest")
	require.Contains(t, string(b), "Deliveries")
}

func TestSoakRollsPartitionsOverInSeconds(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := &rig{pool: pgtest.Pool(t)}
	require.NoError(t, r.roll(ctx, 7*time.Second))
	var partitions int
	var ahead time.Duration
	require.NoError(t, r.pool.QueryRow(ctx, `SELECT count(*), max(to_timestamp(right(inhrelid::regclass::text, 14), 'YYYYMMDDHH24MISS') AT TIME ZONE 'UTC') - now()::timestamp
		FROM pg_inherits WHERE inhparent = 'fanmail.events'::regclass`).Scan(&partitions, &ahead))
	require.Equal(t, 10, partitions)
	require.InDelta(t, 52.5, ahead.Seconds(), 30, "the last of ten begins eight of them ahead")
	_, err := r.pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), now(), now() + interval '30 days', 1, 8, 'email.received'`)
	require.NoError(t, err)
	_, err = shortDaysFunction(strings.Repeat("day    date;", 2), time.Second)
	require.ErrorContains(t, err, "2 times")
}
