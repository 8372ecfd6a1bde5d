package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// The agents of the corpus, by how their mail is sent.
const (
	byDATA = "data@corpus.example"
	byBDAT = "bdat@corpus.example"
)

const corpusPath = "/corpus"

// TestMailThatNobodyWouldWriteArrives sends the MIME library's own corpus and worse through all of
// Fanmail. Each mail becomes one event, which both signature schemes verify, and its raw bytes come
// back as they were sent.
func TestMailThatNobodyWouldWriteArrives(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("the corpus took too long"))
	t.Cleanup(cancel)
	s := sink.New(t)
	u := upWith(ctx, t, s)

	samples := append(corpus(ctx, t), hostile()...)
	want := map[copyOf]sample{}
	dialogue := dialSMTP(ctx, t, u.creds.SMTP)
	for _, l := range samples {
		for range max(1, l.times) {
			dialogue.data(byDATA, l)
			dialogue.bdat(byBDAT, l)
		}
		for _, c := range []copyOf{{byDATA, sha256.Sum256(canonical(l.raw))}, {byBDAT, sha256.Sum256(l.raw)}} {
			before, taken := want[c]
			require.False(t, taken, "%s and %s are the same mail", before.name, l.name)
			want[c] = l
		}
	}
	dialogue.quit()

	// The outbox row is deleted in the transaction that inserts the deliveries.
	require.Eventually(t, func() bool {
		return u.count(ctx, `SELECT count(*) FROM fanmail.outbox`) == 0 &&
			u.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status <> 'delivered'`) == 0
	}, 2*time.Minute, 20*time.Millisecond, "every delivery is delivered")

	arrived := map[copyOf]string{} // to the event
	for _, p := range s.Posts(0) {
		c, got := u.receive(ctx, p)
		l, sent := want[c]
		require.True(t, sent, "the raw bytes of %s for %s (%q) are those of no mail that was sent", got.MessageID, c.agent, got.Subject)
		if before, again := arrived[c]; again {
			require.Equal(t, before, p.EventID, "%s is one event", l.name)
		}
		arrived[c] = p.EventID
		if l.unreadable {
			require.NotEmpty(t, got.ParseError, "%s is marked as unreadable", l.name)
		}
	}
	for c, l := range want {
		if _, ok := arrived[c]; !ok {
			t.Errorf("%s for %s did not arrive", l.name, c.agent)
		}
	}
	require.Equal(t, len(want), u.count(ctx, `SELECT count(*) FROM fanmail.events`), "each mail is one event, however often it was sent")
	t.Logf("%d mails, %d events, %d POSTs", len(samples), len(arrived), s.Count())
}

// copyOf is an agent's copy of a mail, by the hash of its raw bytes.
type copyOf struct {
	agent string
	raw   [sha256.Size]byte
}

// oneProcess is all of Fanmail inside this process, so that the race detector sees it.
type oneProcess struct {
	t     testing.TB
	creds app.Credentials
	pool  *pgxpool.Pool
}

// upWith starts Fanmail with the corpus's agents and a webhook to s.
func upWith(ctx context.Context, t testing.TB, s *sink.Sink) *oneProcess {
	t.Helper()
	ready := make(chan app.Credentials, 1)
	c := app.UpConfig{
		SMTPAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", HTTPAddr: "off",
		DatabaseURL: secret.Text(pgtest.URL(t)), NATSURL: secret.Text(natstest.URL(t)), Dir: t.TempDir(),
		Ready: func(creds app.Credentials) { ready <- creds },
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	log := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	go func() { done <- app.RunUp(running, c, log) }()
	u := &oneProcess{t: t, pool: pgtest.Open(t, c.DatabaseURL.Reveal())}
	select {
	case u.creds = <-ready:
	case err := <-done:
		require.NoError(t, err)
		require.Fail(t, "Fanmail ended by itself")
	}
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})

	api := &apiclient.Client{Base: u.creds.API, Key: u.creds.TenantKey}
	for _, address := range []string{byDATA, byBDAT} {
		require.NoError(t, api.Do(ctx, http.MethodPost, "/v1/agents", nil, map[string]any{"address": address}, nil))
	}
	var hook struct {
		SigningSecret string `json:"signing_secret"`
	}
	in := map[string]any{"url": s.URL(corpusPath), "events": []string{"email.received"}}
	require.NoError(t, api.Do(ctx, http.MethodPost, "/v1/webhooks", nil, in, &hook))
	s.Secret(corpusPath, hook.SigningSecret)
	return u
}

func (u *oneProcess) count(ctx context.Context, sql string) int {
	var n int
	if err := u.pool.QueryRow(ctx, sql).Scan(&n); err != nil {
		u.t.Errorf("%s: %v", sql, err)
	}
	return n
}

// receive does what a receiver does: it verifies, reads, and fetches the raw mail by the link.
func (u *oneProcess) receive(ctx context.Context, p sink.Post) (copyOf, email.Received) {
	u.t.Helper()
	var got email.Received
	require.NoError(u.t, p.VerifyErr, "the signatures of %s", p.EventID)
	env, err := events.DecodeEnvelope(p.Body)
	require.NoError(u.t, err)
	require.Equal(u.t, p.EventID, env.ID.String())
	require.NoError(u.t, json.Unmarshal(env.Data, &got))

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, got.RawURL, nil)
	require.NoError(u.t, err)
	req.Header.Set("Authorization", "Bearer "+u.creds.TenantKey)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(u.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(u.t, http.StatusOK, resp.StatusCode, got.RawURL)
	raw := sha256.New()
	size, err := io.Copy(raw, resp.Body)
	require.NoError(u.t, err)
	require.Equal(u.t, got.Size, size)
	return copyOf{got.AgentID, [sha256.Size]byte(raw.Sum(nil))}, got
}
