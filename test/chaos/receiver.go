package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// How a receiver can fail.
const (
	fine     = ""
	hanging  = "hang"
	resets   = "reset"
	garbage  = "garbage"
	endless  = "endless"
	redirect = "redirect"
	refusing = "error"
)

var moods = []string{hanging, resets, garbage, endless, redirect, refusing}

// endlessBytes is the length of an endless answer.
const endlessBytes = 10 << 30

// endpoint is one webhook's URL.
type endpoint struct {
	id, secret string
	delay      func() time.Duration
	// stumble reports whether an attempt fails although the endpoint is healthy.
	stumble func(token string, attempt int) bool

	mood    atomic.Value // string
	mu      sync.Mutex
	rotated []string      // secrets after the first one
	changed chan struct{} // closed with the next change of mood
}

// accept adds a secret.
func (e *endpoint) accept(secret string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rotated = append(e.rotated, secret)
}

// signed reports whether a POST verifies with one of the secrets.
func (e *endpoint) signed(h http.Header, body []byte, at time.Time) bool {
	e.mu.Lock()
	secrets := append([]string{e.secret}, e.rotated...)
	e.mu.Unlock()
	return slices.ContainsFunc(secrets, func(s string) bool { return sink.Verify(s, h, body, at) == nil })
}

func (e *endpoint) turn(mood string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mood.Store(mood)
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *endpoint) change() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// receiver is the webhooks' server.
type receiver struct {
	base    string
	server  *http.Server
	served  chan struct{}
	history *history.File
	clock   func() int64
	paths   sync.Map // name → *endpoint
}

func startReceiver(ctx context.Context, h *history.File, clock func() int64) (*receiver, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{base: "http://" + l.Addr().String() + "/", history: h, clock: clock, served: make(chan struct{})}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(l)
	}()
	return r, nil
}

func (r *receiver) close() {
	_ = r.server.Close()
	<-r.served
}

func (r *receiver) add(name string, e *endpoint) {
	e.changed = make(chan struct{})
	e.mood.Store(fine)
	r.paths.Store(name, e)
}

func (r *receiver) endpoint(name string) *endpoint {
	if e, ok := r.paths.Load(name); ok {
		return e.(*endpoint)
	}
	return nil
}

// ServeHTTP reads the whole POST, verifies it, answers by the endpoint's mood, and records both.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the body did not arrive in full
	}
	at := time.Now()
	sum := sha256.Sum256(body)
	var envelope struct{ Data struct{ Subject string } }
	_ = json.Unmarshal(body, &envelope) // an unreadable body has no token
	attempt, _ := strconv.Atoi(req.Header.Get(sink.HeaderAttempt))
	p := &history.Post{
		Token: envelope.Data.Subject, Event: req.Header.Get(signature.HeaderID), Delivery: req.Header.Get(sink.HeaderDelivery),
		Attempt: attempt, Body: hex.EncodeToString(sum[:]), Start: r.clock(),
	}
	e := r.endpoint(strings.TrimPrefix(req.URL.Path, "/"))
	if e == nil {
		p.End = p.Start
		r.history.Append(history.Record{Kind: history.KindPost, Post: p})
		return
	}
	p.Hook, p.Signed = e.id, e.signed(req.Header, body, at)
	r.answer(w, req, e, p)
}

func (r *receiver) answer(w http.ResponseWriter, req *http.Request, e *endpoint, p *history.Post) {
	change, mood := e.change(), e.mood.Load().(string)
	timer := time.NewTimer(e.delay())
	defer timer.Stop()
	wait := timer.C
	if mood == hanging {
		wait = nil
	} else {
		change = nil
	}
	select {
	case <-wait:
	case <-change:
	case <-req.Context().Done():
	}
	switch {
	case mood == resets, mood == garbage:
	case mood == redirect:
		p.Status = http.StatusFound
		w.Header().Set("Location", r.base+"elsewhere")
	case mood == refusing, mood == fine && e.stumble(p.Token, p.Attempt):
		p.Status = http.StatusInternalServerError
	default:
		p.Status = http.StatusOK
	}
	p.Left, p.End = req.Context().Err() != nil, r.clock()
	r.history.Append(history.Record{Kind: history.KindPost, Post: p})
	if p.Left {
		panic(http.ErrAbortHandler)
	}
	if p.Status == 0 {
		hijack(w, mood == resets)
		return
	}
	w.WriteHeader(p.Status)
	if mood == endless {
		chunk := make([]byte, 1<<20)
		for n := 0; n < endlessBytes; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

func hijack(w http.ResponseWriter, reset bool) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = conn.Close() }()
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
		return
	}
	_, _ = io.WriteString(conn, "\x00\xffnot HTTP at all\r\n\r\n")
}
