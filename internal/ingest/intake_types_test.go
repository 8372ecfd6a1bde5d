package ingest_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func define(t testing.TB, pool *pgxpool.Pool, own eventtype.Type) {
	t.Helper()
	verified, err := eventschema.NewChecker(false).Verify(t.Context(), own)
	require.NoError(t, err)
	_, err = eventschema.Define(t.Context(), pool, verified)
	require.NoError(t, err)
}

// TestIntakeTakesOwnTypesThatFitTheirSchema publishes events of own types among built-in ones, all in one batch.
func TestIntakeTakesOwnTypesThatFitTheirSchema(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	ten, other := tenant(t, pool), tenant(t, pool)
	define(t, pool, eventtype.Type{TenantID: ten, Name: "order.created", Schema: json.RawMessage(`{"properties":{"lines":{"items":{"required":["sku"]}}}}`)})
	define(t, pool, eventtype.Type{Name: "billing.due"})
	subject, others := events.IntakePrefix+ten.String(), events.IntakePrefix+other.String()
	for _, body := range []string{
		`{"type":"email.sent","data":{}}`,
		`{"type":"order.created","data":{"lines":[{"sku":"s3cret"}]}}`,
		`{"type":"order.created","data":{"lines":[{"sku":"s3cret"},{"ean":"s3cret"}]}}`,
		`{"type":"order.lost","data":{}}`,
		`{"type":"billing.due","data":{}}`,
	} {
		publish(t, js, subject, body)
	}
	publish(t, js, others, `{"type":"order.created","data":{}}`)
	publish(t, js, others, `{"type":"billing.due","data":{}}`)
	takeIn(t, pool, js, nil)
	settled(t, js)
	taken := map[string]int{}
	rows, err := pool.Query(ctx, `SELECT type || CASE WHEN tenant_id = $1 THEN '' ELSE ' of another' END FROM fanmail.events`, ten)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var typ string
		require.NoError(t, rows.Scan(&typ))
		taken[typ]++
	}
	require.Equal(t, map[string]int{"email.sent": 1, "order.created": 1, "billing.due": 1, "billing.due of another": 1}, taken)
	require.ElementsMatch(t, []string{
		`data: does not fit the schema of order.created: at /lines/1: lacks "sku"`,
		`type: unknown event type "order.lost": it is not in the catalogue, and this tenant has no such type; POST /v1/event-types makes one`,
		`type: unknown event type "order.created": it is not in the catalogue, and this tenant has no such type; POST /v1/event-types makes one`,
	}, reasons(ctx, t, js))
}

// reasons are those of the dead letters.
func reasons(ctx context.Context, t *testing.T, js jetstream.JetStream) (out []string) {
	t.Helper()
	s, err := js.Stream(ctx, stream.Dead)
	require.NoError(t, err)
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		require.NoError(t, err)
		out = append(out, m.Header.Get(stream.HeaderReason))
	}
	return out
}

// A batch takes some that are heavy, and the others later. Light ones of its tenants do not wait for them.
func TestEventsThatTakeLongToCompareDelayNoOthers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	heavy, light := tenant(t, pool), tenant(t, pool)
	schema := `{"properties":{"a":{"items":{"allOf":[` + strings.Repeat(`{"type":"string"},`, 899) + `{"type":"string"}]}}}}`
	define(t, pool, eventtype.Type{Name: "order.created", Schema: json.RawMessage(schema)})
	for range 12 {
		publish(t, js, events.IntakePrefix+heavy.String(), `{"type":"order.created","data":{"a":[`+strings.Repeat(`"x",`, 260)+`"x"]}}`)
	}
	publish(t, js, events.IntakePrefix+light.String(), `{"type":"order.created","data":{"a":["x"]}}`)
	takeIn(t, pool, js, nil)
	var before int
	require.Eventually(t, func() bool {
		var there bool
		err := pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE tenant_id = $1), bool_or(tenant_id = $2) IS TRUE FROM fanmail.events`, heavy, light).Scan(&before, &there)
		return err == nil && there
	}, 6*patience, time.Millisecond)
	require.Less(t, before, 12, "the light one waits for few of the heavy ones")
	settled(t, js)
	var taken int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.events`).Scan(&taken))
	require.Equal(t, 13, taken, "all are taken in")
}
