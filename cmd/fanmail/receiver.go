package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/mail"
	"slices"
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
	// Fault says why the signatures are not valid; nil if they are valid.
	Fault  error
	Header http.Header
	Body   []byte
}

// String describes the arrival on one line.
func (a *arrival) String() string {
	signed := "verified"
	if a.Fault != nil {
		signed = "NOT VERIFIED: " + a.Fault.Error()
	}
	line := fmt.Sprintf("%s  %s", printable(string(a.Type)), printable(a.DeliveryID))
	if a.Subject != "" || a.From != "" {
		line += fmt.Sprintf("  %q from %s", printable(a.Subject), printable(a.From))
	}
	return fmt.Sprintf("%s  attempt %d  %s", line, a.Attempt, signed)
}

// whole gives the headers and the body, indented. A body that is JSON is laid out.
func (a *arrival) whole() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		for _, value := range a.Header[name] {
			fmt.Fprintf(&b, "  %s: %s\n", printable(name), printable(value))
		}
	}
	var body bytes.Buffer
	if json.Indent(&body, a.Body, "  ", "  ") != nil {
		return b.String() + "\n  " + printable(string(a.Body)) + "\n"
	}
	return b.String() + "\n  " + escaped(body.String()) + "\n"
}

// receiver is an HTTP server on this machine that receives webhooks.
type receiver struct {
	// URL is the address for the webhook.
	URL string

	listener  net.Listener
	answer    func(context.Context, *arrival) int
	secret    string // set once, before hasSecret is closed
	hasSecret chan struct{}
	once      sync.Once
}

// newReceiver listens on addr. It calls answer for each POST; answer returns the
// status of the response.
func newReceiver(ctx context.Context, addr string, answer func(context.Context, *arrival) int) (*receiver, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for webhooks: %w", addr, err)
	}
	return &receiver{URL: "http://" + l.Addr().String() + "/", listener: l, answer: answer, hasSecret: make(chan struct{})}, nil
}

// setSecret sets the signing secret. POSTs wait for it.
func (r *receiver) setSecret(secret string) {
	r.once.Do(func() {
		r.secret = secret
		close(r.hasSecret)
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

// ServeHTTP handles one POST.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		http.Error(w, "only POST is supported", http.StatusMethodNotAllowed)
		return
	}
	select {
	case <-r.hasSecret:
	case <-req.Context().Done():
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 2*events.MaxEnvelopeBytes))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	a := parseArrival(req.Header, body)
	a.Fault = signature.Verify(r.secret, req.Header, body, time.Now(), 0)
	w.WriteHeader(r.answer(req.Context(), a))
}

// parseArrival reads a POST. What it cannot read stays empty.
func parseArrival(h http.Header, body []byte) *arrival {
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
	// Data of other event types has other fields.
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

// forward POSTs an arrival to another URL, with the same headers and body. It
// returns the status of the response.
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

// pause waits for d. It returns an error if ctx ends first.
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
