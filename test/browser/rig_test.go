package browser_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/test/process"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// system is a running `fanmail up`, as a newcomer has it.
type system struct {
	app.Credentials
	process  *process.Process
	operator *apiclient.Client
	pool     *pgxpool.Pool
}

// fanmail starts the one Fanmail that all tests share. Its end is TestMain's.
var fanmail = sync.OnceValues(func() (*system, error) {
	dir, err := os.MkdirTemp("", "fanmail-browser-")
	if err != nil {
		return nil, err
	}
	atEnd(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := process.Build(ctx, dir, "cmd/fanmail"); err != nil {
		return nil, err
	}
	return up(ctx, dir)
})

// up starts the program in dir with its data there.
func up(ctx context.Context, dir string) (*system, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	p, err := process.Start(ctx, process.Spec{
		Name: "up", Bin: filepath.Join(dir, "fanmail"), Logs: dir, Ready: "http://" + addr + "/healthz",
		Args: []string{"--dir", data, "up", "--api", addr, "--smtp", "127.0.0.1:0"},
	})
	if err != nil {
		return nil, err
	}
	s := &system{process: p}
	atEnd(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.Credentials, err = app.ReadCredentials(data); err != nil; s.Credentials, err = app.ReadCredentials(data) {
		select {
		case <-tick.C:
		case <-p.Exited():
			return nil, fmt.Errorf("fanmail up ended; its output ends:\n%s", p.Tail(20))
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the credentials of fanmail up: %w; its output ends:\n%s", err, p.Tail(20))
		}
	}
	s.operator = &apiclient.Client{Base: s.API, Key: s.OperatorKey}
	s.pool, err = pgxpool.New(ctx, s.DatabaseURL)
	if err != nil {
		return nil, err
	}
	atEnd(s.pool.Close)
	return s, nil
}

// firm is a tenant of one test, with an agent that receives mail and a receiver of webhooks.
type firm struct {
	*apiclient.Client
	t         testing.TB
	sys       *system
	id        string
	agent     string
	receivers *sink.Sink
}

// newFirm creates a tenant with the name, which may be hostile, and a domain of its own.
func newFirm(t testing.TB, name string) *firm {
	t.Helper()
	return newFirmAt(t, name, strings.ToLower(rand.Text()[:12])+".example")
}

// newFirmAt is newFirm with a domain that no other test takes.
func newFirmAt(t testing.TB, name, domain string) *firm {
	t.Helper()
	sys, err := fanmail()
	require.NoError(t, err)
	f := &firm{t: t, sys: sys, receivers: sink.New(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the output of fanmail up ends:\n%s", sys.process.Tail(30))
		}
	})
	var made struct{ ID, Secret string }
	f.Client = sys.operator
	f.do(http.MethodPost, "/v1/tenants", map[string]any{"name": name}, &made)
	f.id = made.ID
	f.do(http.MethodPost, "/v1/keys", map[string]any{"tenant_id": f.id, "name": "a test's key"}, &made)
	f.do(http.MethodPost, "/v1/domains", map[string]any{"tenant_id": f.id, "domain": domain}, nil)
	f.Client = &apiclient.Client{Base: sys.API, Key: made.Secret}
	f.agent = "robot@" + domain
	f.do(http.MethodPost, "/v1/agents", map[string]any{"address": f.agent}, nil)
	return f
}

// do calls the API, which must agree.
func (f *firm) do(method, path string, in, out any) {
	f.t.Helper()
	require.NoError(f.t, f.Do(f.t.Context(), method, path, nil, in, out), "%s %s", method, path)
}

// get reads from the API.
func (f *firm) get(path string, query url.Values, out any) {
	f.t.Helper()
	require.NoError(f.t, f.Do(f.t.Context(), http.MethodGet, path, query, nil, out), "GET %s", path)
}

// webhook creates a webhook to the receivers' path with further settings, and returns its id.
func (f *firm) webhook(path string, settings map[string]any) string {
	f.t.Helper()
	in := map[string]any{"url": f.receivers.URL(path), "events": []string{"email.received"}}
	for k, v := range settings {
		in[k] = v
	}
	var made struct {
		ID            string
		SigningSecret string `json:"signing_secret"`
	}
	f.do(http.MethodPost, "/v1/webhooks", in, &made)
	f.receivers.Secret(path, made.SigningSecret)
	return made.ID
}

// received waits until so many requests have arrived at a path of the receivers.
func (f *firm) received(path string, n int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	require.NoError(f.t, f.receivers.WaitForPath(ctx, path, n), "%s has %d of %d requests", path, f.receivers.CountTo(path), n)
}

// mail sends a mail to the firm's agent over SMTP. A line ends with "\n" in raw.
func (f *firm) mail(raw string) {
	f.t.Helper()
	c, err := smtp.Dial(f.sys.SMTP)
	require.NoError(f.t, err)
	defer func() { _ = c.Close() }()
	body := strings.NewReader(strings.ReplaceAll(raw, "\n", "\r\n"))
	require.NoError(f.t, c.SendMail("sender@example.net", []string{f.agent}, body), "send a mail")
}

// note sends a plain mail with the subject.
func (f *firm) note(subject string) {
	f.t.Helper()
	f.mail(fmt.Sprintf("From: Ada Lovelace <ada@example.net>\nTo: %s\nSubject: %s\nMessage-ID: <%s@example.net>\n"+
		"Date: Mon, 02 Nov 2026 10:00:00 +0000\nContent-Type: text/plain; charset=utf-8\n\nGood morning.\n",
		f.agent, subject, strings.ToLower(rand.Text())))
}

// newest waits for an event and returns the id of the newest one.
func (f *firm) newest() string {
	f.t.Helper()
	var found struct{ Data []struct{ ID string } }
	require.Eventually(f.t, func() bool {
		f.get("/v1/events", url.Values{"limit": {"1"}}, &found)
		return len(found.Data) > 0
	}, patience, 20*time.Millisecond, "no event")
	return found.Data[0].ID
}
