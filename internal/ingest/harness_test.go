package ingest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// running runs f until the test ends, or until stop is called.
func running(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return stop
}

// serve runs a server until the test ends.
func serve(t testing.TB, pool *pgxpool.Pool, o ingest.Options) *ingest.Server {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	o.Log = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	s, err := ingest.NewServer(pool, nil, o)
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	running(t, s.Run)
	return s
}

func tenant(t testing.TB, pool *pgxpool.Pool, agents ...string) events.TenantID {
	t.Helper()
	id := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(context.Background(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, id)
	require.NoError(t, err)
	for _, a := range agents {
		_, err := pool.Exec(context.Background(), `INSERT INTO fanmail.agents (address, tenant_id) VALUES ($1, $2)`, a, id)
		require.NoError(t, err)
	}
	return id
}

// wire is an SMTP client that sends exactly what a test says.
type wire struct {
	t    testing.TB
	conn net.Conn
	r    *textproto.Reader
}

// dial connects without reading the greeting.
func dial(t testing.TB, s *ingest.Server) *wire {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(3*patience)))
	return &wire{t, c, textproto.NewReader(bufio.NewReader(c))}
}

// hello connects and greets.
func hello(t testing.TB, s *ingest.Server) *wire {
	t.Helper()
	w := dial(t, s)
	w.expect(220)
	w.say(250, "EHLO client.example")
	return w
}

func (w *wire) expect(code int) string {
	w.t.Helper()
	_, msg, err := w.r.ReadResponse(code)
	require.NoError(w.t, err)
	return msg
}

func (w *wire) say(code int, line string) string {
	w.t.Helper()
	w.send(line + "\r\n")
	return w.expect(code)
}

func (w *wire) send(raw string) {
	w.t.Helper()
	_, err := io.WriteString(w.conn, raw)
	require.NoError(w.t, err)
}

// begin opens a transaction for the recipients.
func (w *wire) begin(to ...string) {
	w.t.Helper()
	w.say(250, "MAIL FROM:<sender@example.org>")
	for _, a := range to {
		w.say(250, "RCPT TO:<"+a+">")
	}
}

// bdat sends the mail byte for byte and expects the code.
func (w *wire) bdat(code int, raw []byte) string {
	w.t.Helper()
	w.send(fmt.Sprintf("BDAT %d LAST\r\n", len(raw)))
	_, err := w.conn.Write(raw)
	require.NoError(w.t, err)
	return w.expect(code)
}

// data sends the mail with DATA, dots stuffed, and expects the code.
func (w *wire) data(code int, raw string) string {
	w.t.Helper()
	w.say(354, "DATA")
	stuffed := strings.ReplaceAll("\r\n"+raw, "\r\n.", "\r\n..")[2:]
	w.send(stuffed + "\r\n.\r\n")
	return w.expect(code)
}

// closed waits until the server has closed the connection.
func (w *wire) closed() {
	w.t.Helper()
	_, err := io.Copy(io.Discard, w.r.R)
	if ne, ok := err.(net.Error); ok { //nolint:errorlint // of the socket itself
		require.False(w.t, ne.Timeout(), "the connection is still open")
	}
}

// stored is one agent's mail as it lies in the database.
type stored struct {
	Agent, Tenant, Event, Message string
	Envelope                      []byte
	Raw                           []byte
	RawID                         string
	Data                          email.Received
}

// mails gives what is stored, in the order of the outbox, and checks what
// holds for every event.
func mails(t testing.TB, pool *pgxpool.Pool) []stored {
	t.Helper()
	ctx := context.Background()
	rows, err := pool.Query(ctx, `
		SELECT m.agent_id, m.tenant_id::text, e.id::text, m.id, e.envelope, r.raw, r.id::text, e.message_id, e.agent_id, e.conversation_id,
			m.raw_size, m.created_at = e.created_at AND r.created_at = e.created_at AND o.created_at = e.created_at
		FROM fanmail.outbox AS o JOIN fanmail.events AS e ON e.id = o.event_id AND e.created_at = o.created_at
		JOIN fanmail.messages AS m ON m.event_id = e.id JOIN fanmail.message_raws AS r ON r.id = m.raw_id ORDER BY o.seq`)
	require.NoError(t, err)
	var out []stored
	var s stored
	var id events.MessageID
	var eventMessage, eventAgent, conversation string
	var size int64
	var sameTime bool
	_, err = pgx.ForEachRow(rows, []any{&s.Agent, &s.Tenant, &s.Event, &id, &s.Envelope, &s.Raw, &s.RawID, &eventMessage, &eventAgent, &conversation, &size, &sameTime}, func() error {
		c := s
		c.Message = id.String()
		require.LessOrEqual(t, len(c.Envelope), events.MaxEnvelopeBytes)
		require.NotContains(t, string(c.Envelope), `\u0000`)
		env, err := events.DecodeEnvelope(c.Envelope)
		require.NoError(t, err)
		require.Equal(t, events.EmailReceived, env.Type)
		d := json.NewDecoder(strings.NewReader(string(env.Data)))
		d.DisallowUnknownFields()
		c.Data = email.Received{}
		require.NoError(t, d.Decode(&c.Data))
		require.True(t, sameTime)
		require.EqualValues(t, len(c.Raw), size)
		require.Equal(t, size, c.Data.Size)
		require.Equal(t, c.Message, eventMessage)
		require.Equal(t, c.Message, c.Data.MessageID)
		require.Equal(t, c.Agent, eventAgent)
		require.Equal(t, c.Agent, c.Data.AgentID)
		require.Equal(t, conversation, c.Data.ConversationID)
		require.Contains(t, c.Data.RawURL, "/v1/messages/"+c.Message+"/raw")
		require.Equal(t, c.Data.Authentication.Checked, c.Data.Authentication.Results != "")
		out = append(out, c)
		return nil
	})
	require.NoError(t, err)
	return out
}

func counts(t testing.TB, pool *pgxpool.Pool) (evs, outbox, messages, raws int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT (SELECT count(*) FROM fanmail.events), (SELECT count(*) FROM fanmail.outbox),
		(SELECT count(*) FROM fanmail.messages), (SELECT count(*) FROM fanmail.message_raws)`).Scan(&evs, &outbox, &messages, &raws))
	return
}

// quick gives a server with an agent a@example.com.
func quick(t testing.TB, o ingest.Options) (*pgxpool.Pool, *ingest.Server) {
	t.Helper()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com")
	return pool, serve(t, pool, o)
}
