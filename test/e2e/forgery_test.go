package e2e_test

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// storedContentIsNoEvent stores messages of an attacker's choice where the users edge and ingest may, and has the
// broker answer with them to subjects that they may not publish to. Nor may they remove by a header what is stored.
func (g *guarded) storedContentIsNoEvent(ctx context.Context, tenant, key string, s *sink.Sink) {
	g.t.Helper()
	var webhook struct{ ID string }
	g.call(ctx, key, http.MethodPost, "/v1/webhooks", map[string]any{"url": s.URL("/forged"), "events": []string{"email.received"}}, &webhook)
	id, err := events.Parse[events.WebhookKind](webhook.ID)
	require.NoError(g.t, err)
	owner, err := events.Parse[events.TenantKind](tenant)
	require.NoError(g.t, err)
	operator, err := nats.Connect(g.nats("operator"))
	require.NoError(g.t, err)
	defer operator.Close()
	js, err := jetstream.New(operator)
	require.NoError(g.t, err)
	before := g.count(ctx, `SELECT count(*) FROM fanmail.events`)

	// The publisher leaves the row alone: it is leased, and belongs to the future.
	record := events.Record{ID: events.NewRandom[events.EventKind](), TenantID: owner, Type: events.EmailReceived, CreatedAt: time.Now().Truncate(time.Microsecond)}
	require.NoError(g.t, g.pool.QueryRow(ctx, `INSERT INTO fanmail.outbox (event_id, tenant_id, created_at, leased_until)
		VALUES (gen_random_uuid(), $1, now() + interval '1 hour', now() + interval '1 hour') RETURNING seq`, owner).Scan(&record.Seq))
	event := stream.EncodeEvent(&record, []byte(`{"type":"email.received","data":{"forged":true}}`))
	partition := events.Partition(id)
	now := time.Now()
	delivery := (&stream.DeliveryMessage{
		Lease:      now.Add(25 * time.Second).UnixMicro(),
		Events:     []stream.MessageEvent{{ID: record.ID, CreatedAt: now, Envelope: event.Data}},
		Deliveries: []stream.MessageDelivery{{ID: events.NewRandom[events.DeliveryKind](), WebhookID: id}},
	}).AppendTo(nil)
	forgeries := map[string]*nats.Msg{
		"mail.intake." + tenant: {Data: []byte(`{"type":"email.received","data":{"forged":true}}`)},
		event.Subject:           event,
		"fanmail.deliveries." + strconv.Itoa(partition) + ".batch": {Data: delivery},
		"$JS.API.STREAM.CREATE.FORGED": {
			Header: nats.Header{"Nats-Request-Info": {`{"acc":"FANMAIL","rtt":1}`}}, Data: []byte(`{"name":"FORGED","subjects":["forged.>"]}`),
		},
	}
	for user, at := range map[string]struct{ bucket, prefix string }{
		"edge": {"OBJ_mail-raw", "$O.mail-raw.C."}, "ingest": {"KV_mail-recipients", "$KV.mail-recipients."},
	} {
		nc, err := nats.Connect(g.nats(user), nats.CustomInboxPrefix("_INBOX_"+user), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		require.NoError(g.t, err)
		n := 0
		for reply, m := range forgeries {
			n++
			place := at.prefix + "forged-" + user + strconv.Itoa(n)
			stored, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: place, Header: m.Header, Data: m.Data})
			require.NoError(g.t, err)
			require.NotContains(g.t, string(stored.Data), "error")
			for _, bucket := range []string{"OBJ_mail-raw", at.bucket} {
				require.NoError(g.t, nc.PublishRequest("$JS.API.DIRECT.GET."+bucket+"."+place, reply, nil))
				require.NoError(g.t, nc.PublishRequest("$JS.API.DIRECT.GET."+bucket, reply, []byte(`{"last_by_subj":"`+place+`"}`)))
				require.NoError(g.t, nc.PublishRequest("$JS.API.STREAM.MSG.GET."+bucket, reply, []byte(`{"last_by_subj":"`+place+`"}`)))
			}
		}
		refused, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: "$O.mail-raw.C.forged-rollup", Header: nats.Header{"Nats-Rollup": {"all"}}, Data: []byte("x")})
		require.NoError(g.t, err)
		require.Contains(g.t, string(refused.Data), "rollup not permitted", user)
		nc.Close()
	}
	for name, streamName := range map[string]string{stream.Fanout: stream.Events, stream.PartitionConsumerName(partition): stream.Deliveries, stream.IntakeConsumer: stream.Intake} {
		require.Eventually(g.t, func() bool {
			c, err := js.Consumer(ctx, streamName, name)
			return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
		}, time.Minute, 50*time.Millisecond, "all of %s is handled", streamName)
	}
	require.Equal(g.t, before, g.count(ctx, `SELECT count(*) FROM fanmail.events`))
	require.Equal(g.t, 1, g.count(ctx, `SELECT count(*) FROM fanmail.outbox WHERE leased_until > now() + interval '50 min'`), "the row of the event that was forged stays")
	_, err = js.Stream(ctx, "FORGED")
	require.ErrorIs(g.t, err, jetstream.ErrStreamNotFound)
	require.Zero(g.t, s.CountTo("/forged"), "no forged webhook is sent")
	_, err = g.pool.Exec(ctx, `DELETE FROM fanmail.outbox WHERE leased_until > now() + interval '50 min'`)
	require.NoError(g.t, err)
}
