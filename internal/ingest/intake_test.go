package ingest_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// takeIn runs an intake until the test ends, or until stop is called.
func takeIn(t testing.TB, pool *pgxpool.Pool, js jetstream.JetStream, reg prometheus.Registerer) (stop func()) {
	t.Helper()
	in := ingest.NewIntake(pool, js, js.Conn(), ingest.IntakeOptions{Registerer: reg, Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	return running(t, in.Run)
}

func publish(t testing.TB, js jetstream.JetStream, subject, body string, header ...string) {
	t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	_, err := js.PublishMsg(context.Background(), m)
	require.NoError(t, err)
}

// keepAcknowledged makes the intake stream anew, so that it keeps acknowledged messages and can send them again.
func keepAcknowledged(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream.Intake)
	require.NoError(t, err)
	c := s.CachedInfo().Config
	c.Retention = jetstream.LimitsPolicy
	require.NoError(t, js.DeleteStream(t.Context(), stream.Intake))
	_, err = js.CreateStream(t.Context(), c)
	require.NoError(t, err)
	_, err = js.CreateConsumer(t.Context(), stream.Intake, stream.IntakeConsumerConfig())
	require.NoError(t, err)
}

// unsettled counts the messages of the intake stream behind the last one up to
// which all are acknowledged. The consumer's own count of pending messages lags.
func unsettled(t testing.TB, js jetstream.JetStream) int {
	t.Helper()
	ctx := context.Background()
	s, err := js.Stream(ctx, stream.Intake)
	require.NoError(t, err)
	c, err := s.Consumer(ctx, stream.IntakeConsumer)
	require.NoError(t, err)
	return int(s.CachedInfo().State.LastSeq - c.CachedInfo().AckFloor.Stream)
}

func settled(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	require.Eventually(t, func() bool { return unsettled(t, js) == 0 }, 3*patience, 20*time.Millisecond)
}

func TestIntakePutsEventsIntoTheOutbox(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	nc, js := natstest.Connect(t)
	woken, err := nc.SubscribeSync(events.WakeOutbox)
	require.NoError(t, err)
	ten := tenant(t, pool, "a@example.com")
	subject := events.IntakePrefix + ten.String()
	publish(t, js, subject, `{"type":"email.sent","agent_id":"A@example.com","conversation_id":"c","labels":["x","y"],"message_id":"m","data":{"n":1.0}}`)
	takeIn(t, pool, js, nil)
	_, err = woken.NextMsg(patience)
	require.NoError(t, err)
	settled(t, js)
	var typ, agent, conversation, message string
	var labels []string
	var envelope []byte
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT e.type, e.agent_id, e.conversation_id, e.labels, e.message_id, e.envelope
		FROM fanmail.events AS e JOIN fanmail.outbox AS o ON o.event_id = e.id WHERE e.tenant_id = $1`, ten).Scan(&typ, &agent, &conversation, &labels, &message, &envelope))
	require.Equal(t, []string{"email.sent", "a@example.com", "c", "m"}, []string{typ, agent, conversation, message})
	require.Equal(t, []string{"x", "y"}, labels)
	env, err := events.DecodeEnvelope(envelope)
	require.NoError(t, err)
	require.JSONEq(t, `{"n":1.0}`, string(env.Data))
}

func TestIntakeKeepsOneEventAKey(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	keepAcknowledged(t, js)
	ten := tenant(t, pool)
	subject := events.IntakePrefix + ten.String()
	body := `{"type":"email.sent","data":{}`
	publish(t, js, subject, body+`,"idempotency_key":"k"}`)
	publish(t, js, subject, body+`,"idempotency_key":"k"}`, jetstream.MsgIDHeader, "other")
	publish(t, js, subject, body+`}`, jetstream.MsgIDHeader, "k") // the header counts where the body says nothing
	publish(t, js, subject, body+`}`)
	publish(t, js, subject, body+`}`)
	stop := takeIn(t, pool, js, nil)
	settled(t, js)
	evs, out, _, _ := counts(t, pool)
	require.Equal(t, 3, evs)
	require.Equal(t, 3, out)

	// Everything comes again, as after lost acknowledgements.
	stop()
	require.NoError(t, js.DeleteConsumer(context.Background(), stream.Intake, stream.IntakeConsumer))
	_, err := js.CreateConsumer(context.Background(), stream.Intake, stream.IntakeConsumerConfig())
	require.NoError(t, err)
	require.Equal(t, 5, unsettled(t, js))
	reg := prometheus.NewRegistry()
	takeIn(t, pool, js, reg)
	settled(t, js)
	evs, _, _, _ = counts(t, pool)
	require.Equal(t, 3, evs)
	require.EqualValues(t, 5, metric(t, reg, "fanmail_intake_duplicates_total"))
}

func TestIntakeMovesBadMessagesAsideAndKeepsTheGood(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	ten, other := tenant(t, pool), tenant(t, pool, "theirs@example.com")
	subject := events.IntakePrefix + ten.String()
	nobody := events.NewRandom[events.TenantKind]().String()
	deleted := tenant(t, pool)
	_, err := tenancy.Delete(t.Context(), pool, deleted)
	require.NoError(t, err)
	good := `{"type":"email.sent","data":{}}`
	bad := []struct{ subject, body, token, says, id string }{
		{events.IntakePrefix + "you_there", good, "unknown", "subject", ""},
		{events.IntakePrefix + nobody, good, nobody, "no such tenant", ""},
		{events.IntakePrefix + deleted.String(), `{"type":"email.sent","data":{"n":1}}`, deleted.String(), "no such tenant", ""},
		{subject, `{"type":"email.sent","agent_id":"theirs@example.com","data":{}}`, ten.String(), "agent_id", ""},
		{subject, `{"type":"email.eaten","data":{}}`, ten.String(), "email.received", ""},
		{subject, `{"type":"email.sent","data":{},"when":1}`, ten.String(), "when", ""},
		{subject, `not JSON`, ten.String(), "body", ""},
		{subject, ``, ten.String(), "body", ""},
		{subject, `{"type":"email.sent","data":{"a":"` + strings.Repeat("x", 300<<10) + `"}}`, ten.String(), "262144", ""},
		{subject, strings.Repeat("x", 1<<20-300), ten.String(), "body", ""},
		{subject, good, ten.String(), "idempotency_key: has 999 bytes; the limit is 998", strings.Repeat("k", 999)},
	}
	for _, b := range bad {
		publish(t, js, b.subject, b.body, "X-Sender", "me", "Nats-Expected-Stream", stream.Intake, jetstream.MsgIDHeader, b.id)
		publish(t, js, subject, good)
	}
	publish(t, js, events.IntakePrefix+other.String(), `{"type":"email.sent","agent_id":"theirs@example.com","data":{}}`)
	reg := prometheus.NewRegistry()
	takeIn(t, pool, js, reg)
	settled(t, js)
	evs, _, _, _ := counts(t, pool)
	require.Equal(t, len(bad)+1, evs)
	require.EqualValues(t, len(bad), metric(t, reg, "fanmail_intake_dead_total"))

	dead, err := js.OrderedConsumer(context.Background(), stream.Dead, jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	messages := map[string]jetstream.Msg{}
	for range bad {
		m, err := dead.Next(jetstream.FetchMaxWait(patience))
		require.NoError(t, err)
		messages[m.Headers().Get(stream.HeaderReason)+"\n"+string(m.Data())] = m
	}
	for _, b := range bad {
		found := false
		for _, m := range messages {
			whole := string(m.Data()) == b.body
			cut := m.Headers().Get("Fanmail-Truncated") == "body" && len(m.Data()) > 1<<19 && strings.HasPrefix(b.body, string(m.Data()))
			if m.Subject() == events.DeadIntakePrefix+b.token && (whole || cut) && strings.Contains(m.Headers().Get(stream.HeaderReason), b.says) {
				found = true
				require.Equal(t, "me", m.Headers().Get("X-Sender"))
				require.Equal(t, stream.Intake, m.Headers().Get("Fanmail-Original-Nats-Expected-Stream"))
			}
		}
		require.True(t, found, "%s %.60s", b.subject, b.body)
	}
}

func TestABadMessageDoesNotSplitItsBatch(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	subject := events.IntakePrefix + tenant(t, pool).String()
	large := `{"type":"email.sent","data":{"a":"` + strings.Repeat("x", events.MaxEnvelopeBytes-40) + `"}}`
	const n = 30
	for range n {
		publish(t, js, subject, `{"type":"email.sent","data":{}}`)
		publish(t, js, subject, large)
		publish(t, js, subject, `{"type":"email.sent","data":[]}`)
	}
	reg := prometheus.NewRegistry()
	takeIn(t, pool, js, reg)
	settled(t, js)
	require.EqualValues(t, 2*n, metric(t, reg, "fanmail_intake_dead_total"))
	var inserted, transactions int
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*), count(DISTINCT created_at) FROM fanmail.events`).Scan(&inserted, &transactions))
	require.Equal(t, n, inserted)
	require.Less(t, transactions, n/3)
	dead, err := js.OrderedConsumer(context.Background(), stream.Dead, jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	m, err := dead.Next(jetstream.FetchMaxWait(patience))
	require.NoError(t, err)
	require.Contains(t, m.Headers().Get(stream.HeaderReason), "bytes; the limit is 262144")
}

// What only the database finds unfit is found by trying the batch's events
// one by one.
func TestAnEventThatTheDatabaseRefusesDoesNotSpoilItsBatch(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	_, err := pool.Exec(context.Background(), `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE 'unfit' USING ERRCODE = '22023'; END $$;
		CREATE TRIGGER fail BEFORE INSERT ON fanmail.events FOR EACH ROW WHEN (NEW.message_id = 'poison') EXECUTE FUNCTION fail()`)
	require.NoError(t, err)
	ten := tenant(t, pool)
	subject := events.IntakePrefix + ten.String()
	for i := range 10 {
		id := fmt.Sprint(i)
		if i == 4 {
			id = "poison"
		}
		publish(t, js, subject, `{"type":"email.sent","message_id":"`+id+`","data":{}}`)
	}
	reg := prometheus.NewRegistry()
	takeIn(t, pool, js, reg)
	settled(t, js)
	evs, _, _, _ := counts(t, pool)
	require.Equal(t, 9, evs)
	require.EqualValues(t, 1, metric(t, reg, "fanmail_intake_dead_total"))
}

func TestIntakeWaitsForTheDatabaseAndTheBroker(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(natstest.URL(t))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	admin := pgtest.Open(t, pgtest.EmptyURL(t))
	allow := func(yes bool) {
		t.Helper()
		db := pool.Config().ConnConfig.Database
		_, err := admin.Exec(context.Background(), fmt.Sprintf("ALTER DATABASE %s WITH ALLOW_CONNECTIONS %t", db, yes))
		require.NoError(t, err)
		if !yes {
			_, err = admin.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, db)
			require.NoError(t, err)
		}
	}
	ten := tenant(t, pool)
	allow(false)
	takeIn(t, pool, js, nil) // there are no streams yet
	require.NoError(t, stream.Ensure(context.Background(), js, stream.Options{}))
	publish(t, js, events.IntakePrefix+ten.String(), `{"type":"email.sent","data":{}}`)
	require.Eventually(t, func() bool {
		c, err := js.Consumer(context.Background(), stream.Intake, stream.IntakeConsumer)
		return err == nil && c.CachedInfo().NumAckPending == 1
	}, patience, 5*time.Millisecond)
	require.Equal(t, 1, unsettled(t, js), "not acknowledged while the database is away")
	allow(true)
	settled(t, js)
	evs, _, _, _ := counts(t, pool)
	require.Equal(t, 1, evs)
}

func TestManyIntakeMessagesAreFewTransactions(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	ten := tenant(t, pool)
	const n = 1200
	for i := range n {
		_, err := js.PublishAsync(events.IntakePrefix+ten.String(), fmt.Appendf(nil, `{"type":"email.sent","data":{"n":%d}}`, i))
		require.NoError(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		require.Fail(t, "publishing")
	}
	takeIn(t, pool, js, nil)
	settled(t, js)
	var transactions, inOrder int
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(DISTINCT created_at),
		count(*) FILTER (WHERE (convert_from(envelope, 'UTF8')::json->'data'->>'n')::int = r - 1)
		FROM (SELECT *, row_number() OVER (ORDER BY seq) AS r FROM fanmail.events) AS e`).Scan(&transactions, &inOrder))
	require.Less(t, transactions, 20)
	require.Equal(t, n, inOrder)
}

// guarded starts a broker with the accounts of deploy/nats and the streams, and returns how to connect as a user.
func guarded(t testing.TB) (as func(user string) (*nats.Conn, jetstream.JetStream)) {
	t.Helper()
	accounts, err := os.ReadFile("../../deploy/nats/accounts.conf")
	require.NoError(t, err)
	url, _ := natstest.Configured(t, regexp.MustCompile(`\$FANMAIL_NATS_\w+_PASSWORD`).ReplaceAllString(string(accounts), "secret"))
	as = func(user string) (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect(url, nats.UserInfo(user, "secret"), nats.CustomInboxPrefix("_INBOX_"+user))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		require.NoError(t, err)
		return nc, js
	}
	_, all := as("operator")
	require.NoError(t, stream.Ensure(t.Context(), all, stream.Options{}))
	return as
}

// With the accounts of deploy/nats, the broker forwards no answer to a request after one without a header and a body.
func TestEmptyMessagesOfAProducerDelayNobody(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	as := guarded(t)
	operator, all := as("operator")
	subject := events.IntakePrefix + tenant(t, pool).String()
	for range 20 {
		publish(t, all, subject, `{"type":"email.sent","data":{}}`)
		_, err := all.Publish(t.Context(), subject, nil)
		require.NoError(t, err)
	}
	require.NoError(t, operator.Flush())
	nc, js := as("ingest")
	running(t, ingest.NewIntake(pool, js, nc, ingest.IntakeOptions{Streams: stream.Options{External: true}}).Run)
	settled(t, all)
	evs, _, _, _ := counts(t, pool)
	require.Equal(t, 20, evs)
}

func TestABatchOfLargeMessagesIsBounded(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	subject := events.IntakePrefix + tenant(t, pool).String()
	body := `{"type":"email.sent","data":{"x":"` + strings.Repeat("x", 200<<10) + `"}}`
	for range 60 {
		publish(t, js, subject, body)
	}
	reg := prometheus.NewPedanticRegistry()
	takeIn(t, pool, js, reg)
	settled(t, js)
	found, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range found {
		if f.GetName() == "fanmail_intake_transaction_seconds" {
			require.GreaterOrEqual(t, f.GetMetric()[0].GetHistogram().GetSampleCount(), uint64(2), "12 MB are one batch")
			return
		}
	}
	require.Fail(t, "there is no histogram of transactions")
}

func TestIntakeValidatesDataWhereTheMessageAsksForIt(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	ten := tenant(t, pool)
	subject := events.IntakePrefix + ten.String()
	const body = `{"type":"email.received","data":{"message_id":1}}`
	publish(t, js, subject, body)
	publish(t, js, subject, body, "Fanmail-Validate", "true")
	publish(t, js, subject, `{"type":"email.sent","data":{"any":"thing"}}`, "Fanmail-Validate", "true")
	takeIn(t, pool, js, nil)
	settled(t, js)
	evs, out, _, _ := counts(t, pool)
	require.Equal(t, 2, evs, "the schema of email.sent allows any object")
	require.Equal(t, 2, out)
	s, err := js.Stream(t.Context(), stream.Dead)
	require.NoError(t, err)
	dead, err := s.GetLastMsgForSubject(t.Context(), events.DeadIntakePrefix+ten.String())
	require.NoError(t, err)
	require.Equal(t, body, string(dead.Data))
	require.Contains(t, dead.Header.Get("Fanmail-Reason"), "data: does not fit the schema of email.received: data.")
}
