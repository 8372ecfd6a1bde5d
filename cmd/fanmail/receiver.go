package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// arrival is one POST that a [receiver] got.
type arrival struct {
	Type       events.Type
	EventID    string
	DeliveryID string
	Attempt    int
	Subject    string
	From       string
	// Fault is why the signatures do not hold; nil where they do.
	Fault  error
	Header http.Header
	Body   []byte
}

// String is a line for people.
func (a *arrival) String() string {
	verdict := "verified"
	if a.Fault != nil {
		verdict = "NOT VERIFIED: " + a.Fault.Error()
	}
	line := fmt.Sprintf("%s  %s", printable(string(a.Type)), printable(a.DeliveryID))
	if a.Subject != "" || a.From != "" {
		line += fmt.Sprintf("  %q from %s", printable(a.Subject), printable(a.From))
	}
	return fmt.Sprintf("%s  attempt %d  %s", line, a.Attempt, verdict)
}

// receiver is an HTTP server on this machine that webhooks are POSTed to.
type receiver struct {
	// URL to register as a webhook.
	URL string

	listener net.Listener
	answer   func(context.Context, *arrival) int
	armed    chan struct{}
	secret   string
	arm      sync.Once
}

// newReceiver listens on addr. answer is called for each POST and gives the
// status to answer with.
func newReceiver(ctx context.Context, addr string, answer func(context.Context, *arrival) int) (*receiver, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for webhooks: %w", addr, err)
	}
	return &receiver{URL: "http://" + l.Addr().String() + "/", listener: l, answer: answer, armed: make(chan struct{})}, nil
}

// expect gives the receiver the signing secret; POSTs wait for it.
func (r *receiver) expect(secret string) {
	r.arm.Do(func() {
		r.secret = secret
		close(r.armed)
	})
}

// run serves until ctx ends.
func (r *receiver) run(ctx context.Context) error {
	srv := &http.Server{
		Handler: r, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(r.listener)
	if stop() {
		return fmt.Errorf("receive webhooks: %w", err)
	}
	<-done
	return nil
}

// ServeHTTP takes one POST.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		http.Error(w, "this receives webhooks by POST", http.StatusMethodNotAllowed)
		return
	}
	select {
	case <-r.armed:
	case <-req.Context().Done():
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 2*events.MaxEnvelopeBytes))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	a := read(req.Header, body)
	a.Fault = signature.Verify(r.secret, req.Header, body, time.Now(), 0)
	w.WriteHeader(r.answer(req.Context(), a))
}

// read makes what it can of a POST.
func read(h http.Header, body []byte) *arrival {
	a := &arrival{
		EventID: h.Get(signature.HeaderID), DeliveryID: h.Get("Fanmail-Delivery-Id"), Header: h, Body: body,
	}
	a.Attempt, _ = strconv.Atoi(h.Get("Fanmail-Attempt"))
	env, err := events.DecodeEnvelope(body)
	if err != nil {
		a.Type = "(not an envelope)"
		return a
	}
	a.Type = env.Type
	var data struct {
		Subject string         `json:"subject"`
		From    []mail.Address `json:"from"`
	}
	// Other events' data has other shapes; what does not fit stays empty.
	if json.Unmarshal(env.Data, &data) == nil {
		a.Subject = data.Subject
		var from []string
		for _, f := range data.From {
			from = append(from, f.Address)
		}
		a.From = strings.Join(from, ", ")
	}
	return a
}

// forward POSTs an arrival to another URL, headers and body as they came, and
// gives the status of the answer.
func forward(ctx context.Context, to string, a *arrival) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(string(a.Body)))
	if err != nil {
		return 0, fmt.Errorf("forward: %w", err)
	}
	req.Header = a.Header.Clone()
	resp, err := forwarder.Do(req)
	if err != nil {
		return 0, fmt.Errorf("forward: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	return resp.StatusCode, nil
}

var forwarder = &http.Client{
	Timeout: 15 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// pause waits, or says that ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
