package receiver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	receiver "github.com/fanmail-dev/fanmail/receivers/go"
)

const (
	secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	other  = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	idOne  = "evt_00000000000000000000000000000001"
)

// bodyOf is the envelope of an event.
func bodyOf(id, eventType, data string) []byte {
	return []byte(`{"type":"` + eventType + `","id":"` + id + `","created_at":"2027-01-15T08:00:00.5Z","schema_version":"1","data":` + data + `}`)
}

// signed are the headers of a body that is sent now.
func signed(t *testing.T, id string, body []byte, secrets ...string) http.Header {
	t.Helper()
	now := time.Now()
	var all []string
	for _, s := range secrets {
		key, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			t.Fatal(err)
		}
		one, err := key.Sign(id, now, body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return http.Header{
		"Webhook-Id": {id}, "Webhook-Timestamp": {fmt.Sprint(now.Unix())}, "Webhook-Signature": {strings.Join(all, " ")},
	}
}

// rig is a receiver behind a real server.
type rig struct {
	*httptest.Server
	t   *testing.T
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t *testing.T, c receiver.Config, handler func(*receiver.Receiver) http.Handler) *rig {
	t.Helper()
	log := &lockedBuffer{}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	if c.Secrets == nil {
		c.Secrets = []string{secret}
	}
	r, err := receiver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler(r))
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(log, nil), slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return &rig{Server: s, t: t, log: log}
}

// post sends a body and returns the answer.
func (r *rig) post(h http.Header, body []byte) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header = h
	resp, err := r.Client().Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}

func (r *rig) want(status int, h http.Header, body []byte) {
	r.t.Helper()
	if got, said := r.post(h, body); got != status {
		r.t.Errorf("the answer is %d %q, not %d; the log:\n%s", got, said, status, r.log)
	}
}

func TestHandlerAnswers(t *testing.T) {
	t.Parallel()
	events := make(chan receiver.Event, 10)
	r := serve(t, receiver.Config{Secrets: []string{other, secret}, MaxBody: 1000}, func(r *receiver.Receiver) http.Handler {
		return r.Handler(func(_ context.Context, e receiver.Event) error {
			if e.Type == "fails.always" {
				return errors.New("the database is away")
			}
			events <- e
			return nil
		})
	})
	body := bodyOf(idOne, "email.sent", `{"a":1}`)
	r.want(204, signed(t, idOne, body, secret), body)
	r.want(204, signed(t, idOne, body, other), body)
	r.want(204, signed(t, idOne, body, "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", secret), body)
	for range 3 {
		e := <-events
		if e.Type != receiver.TypeEmailSent || e.ID != idOne || e.CreatedAt.Nanosecond() != 5e8 || string(e.Data) != `{"a":1}` {
			t.Errorf("the event is %+v", e)
		}
	}
	stranger := "whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
	r.want(401, signed(t, idOne, body, stranger), body)
	r.want(401, http.Header{}, body)
	r.want(401, signed(t, idOne, body, secret), bytes.Replace(body, []byte("1}"), []byte("2}"), 1))
	old := signed(t, idOne, body, secret)
	old.Set("Webhook-Timestamp", fmt.Sprint(time.Now().Unix()-301))
	r.want(401, old, body)
	for _, bad := range [][]byte{[]byte(`{`), []byte(`[]`), []byte(`{"id":"` + idOne + `"}`), bodyOf("evt_2", "email.sent", "{}"), {}} {
		r.want(400, signed(t, idOne, bad, secret), bad)
	}
	long := bodyOf(idOne, "email.sent", `"`+strings.Repeat("x", 1000)+`"`)
	r.want(413, signed(t, idOne, long, secret), long)
	failing := bodyOf(idOne, "fails.always", "{}")
	if status, said := r.post(signed(t, idOne, failing, secret), failing); status != 500 || strings.Contains(said, "database") {
		t.Errorf("a failure is answered with %d %q", status, said)
	}
	resp, err := r.Client().Get(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
		t.Errorf("GET is answered with %d", resp.StatusCode)
	}
	if len(events) != 0 {
		t.Errorf("%d events were handled that should not be", len(events))
	}
	log := r.log.String()
	for _, says := range []string{"the signature is not valid", "the body is no event", "the database is away", "too large"} {
		if !strings.Contains(log, says) {
			t.Errorf("the log does not say %q:\n%s", says, log)
		}
	}
	for _, hides := range []string{"AAAAA", "AwMDA", "v1,"} {
		if strings.Contains(log, hides) {
			t.Errorf("the log has %q:\n%s", hides, log)
		}
	}
}

func TestMiddlewarePassesTheEventOn(t *testing.T) {
	t.Parallel()
	calls := 0
	r := serve(t, receiver.Config{Seen: receiver.NewMemory(0)}, func(r *receiver.Receiver) http.Handler {
		return r.Middleware(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			calls++
			e, ok := receiver.FromContext(req.Context())
			body, err := io.ReadAll(req.Body)
			if !ok || err != nil || !bytes.Contains(body, []byte(e.ID)) {
				t.Errorf("next got %+v, %q, %v", e, body, err)
			}
			switch calls {
			case 1:
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusTeapot)
			case 2:
				panic("a fault of the program")
			case 3:
				_, _ = w.Write([]byte("taken"))
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("the writer can't flush: %v", err)
				}
			}
		}))
	})
	body := bodyOf(idOne, "email.sent", "{}")
	r.want(418, signed(t, idOne, body, secret), body)
	r.want(0, signed(t, idOne, body, secret), body) // net/http closes the connection
	r.want(200, signed(t, idOne, body, secret), body)
	r.want(204, signed(t, idOne, body, secret), body)
	r.want(401, signed(t, idOne, body, other), body)
	if calls != 3 {
		t.Errorf("next was called %d times, not until its first 2xx", calls)
	}
}

func TestAHandledEventIsHandledOnce(t *testing.T) {
	t.Parallel()
	seen, calls, fails := receiver.NewMemory(0), 0, 1
	r := serve(t, receiver.Config{Seen: seen}, func(r *receiver.Receiver) http.Handler {
		return r.Handler(func(context.Context, receiver.Event) error {
			calls++
			if calls <= fails {
				return errors.New("not now")
			}
			return nil
		})
	})
	body := bodyOf(idOne, "email.sent", "{}")
	r.want(500, signed(t, idOne, body, secret), body)
	for range 3 {
		r.want(204, signed(t, idOne, body, secret), body)
	}
	if calls != 2 {
		t.Errorf("the event was handled %d times, not once after a failure", calls)
	}
	seen.Forget(idOne, "evt_unknown")
	r.want(204, signed(t, idOne, body, secret), body)
	if calls != 3 {
		t.Errorf("a forgotten event was not handled")
	}
}

func TestTwoRequestsWithOneEventAreNotHandledAtOnce(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	r := serve(t, receiver.Config{Seen: receiver.NewMemory(0)}, func(r *receiver.Receiver) http.Handler {
		return r.Handler(func(context.Context, receiver.Event) error {
			close(begun)
			<-end
			return nil
		})
	})
	body := bodyOf(idOne, "email.sent", "{}")
	first := make(chan int)
	go func() {
		status, _ := r.post(signed(t, idOne, body, secret), body)
		first <- status
	}()
	<-begun
	r.want(409, signed(t, idOne, body, secret), body)
	close(end)
	if status := <-first; status != 204 {
		t.Errorf("the first request is answered with %d", status)
	}
	r.want(204, signed(t, idOne, body, secret), body)
}
