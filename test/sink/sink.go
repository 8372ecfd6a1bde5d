package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// Keep says how much of each request is recorded.
type Keep int

// The levels, from most to least.
const (
	// KeepAll records everything, with bodies and headers, and verifies.
	KeepAll Keep = iota
	// KeepTimes records ids, attempt, path and time of arrival.
	KeepTimes
	// KeepCounts records nothing and counts.
	KeepCounts
)

// Options of a sink. The zero value keeps all on a free port of 127.0.0.1.
type Options struct {
	// Addr to listen on; "" means 127.0.0.1:0.
	Addr string
	Keep Keep
	// TLS makes it an HTTPS server, with HTTP/2; nil: plain HTTP.
	TLS *tls.Config
	// Idle is how long a connection without a request stays open; zero: for ever.
	Idle time.Duration
}

// Sink is a running receiver.
type Sink struct {
	keep     Keep
	secure   bool
	listener net.Listener
	server   *http.Server
	served   chan struct{}
	closing  chan struct{}

	total   atomic.Int64
	paths   sync.Map // string → *path
	waiting atomic.Int64

	mu      sync.RWMutex // guards what follows
	posts   []Post
	waiters map[chan struct{}]struct{}
	secrets map[string]string
	scripts map[string]Script
	closed  bool
	active  sync.WaitGroup
}

type path struct{ count, inFlight, maxInFlight atomic.Int64 }

// New starts a sink that keeps everything and is closed when the test ends.
func New(t testing.TB) *Sink {
	t.Helper()
	s, err := Start(Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// Start starts a sink. The caller closes it.
func Start(o Options) (*Sink, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s := &Sink{
		keep: o.Keep, secure: o.TLS != nil, listener: l, served: make(chan struct{}), closing: make(chan struct{}),
		waiters: map[chan struct{}]struct{}{}, secrets: map[string]string{}, scripts: map[string]Script{},
	}
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		TLSConfig:         o.TLS,
		IdleTimeout:       o.Idle,
	}
	go func() {
		defer close(s.served)
		if s.secure {
			_ = s.server.ServeTLS(l, "", "")
		} else {
			_ = s.server.Serve(l)
		}
	}()
	return s, nil
}

// Close closes every connection, also hanging ones, and waits until the handlers have returned. The
// record stays readable.
func (s *Sink) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	_ = s.server.Close()
	<-s.served
	s.active.Wait()
}

// URL is the sink's URL for a path, which begins with "/".
func (s *Sink) URL(path string) string {
	scheme := "http://"
	if s.secure {
		scheme = "https://"
	}
	return scheme + s.listener.Addr().String() + path
}

// Secret sets the secret that verifies the path's requests from now on.
func (s *Sink) Secret(path, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[path] = secret
}

// Script sets how the path answers from now on; nil means an empty 200.
func (s *Sink) Script(path string, script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[path] = script
}

func (s *Sink) serve(w http.ResponseWriter, r *http.Request) {
	p, script, secret, ok := s.enter(r.URL.Path)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer s.active.Done()
	defer p.inFlight.Add(-1)

	var body []byte
	var err error
	if s.keep == KeepAll {
		body, err = io.ReadAll(r.Body)
	} else {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return // the body did not arrive in full: there is nothing to record
	}
	attempt, _ := strconv.Atoi(r.Header.Get(HeaderAttempt))
	call := Call{
		Path: r.URL.Path, EventID: r.Header.Get(signature.HeaderID),
		DeliveryID: r.Header.Get(HeaderDelivery), Attempt: attempt,
	}
	post := Post{Method: r.Method, At: time.Now(), VerifyErr: ErrNotKept}
	if s.keep == KeepAll {
		post.Body, post.Header, post.VerifyErr = body, r.Header.Clone(), ErrNoSecret
		if secret != "" {
			post.VerifyErr = Verify(secret, r.Header, body, post.At)
		}
	}
	call.N = s.record(p, call, post)
	var a Answer
	if script != nil {
		a = script(call)
	}
	s.answer(w, r, a)
}

// enter counts a request, unless the sink is closing.
func (s *Sink) enter(name string) (*path, Script, string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, nil, "", false
	}
	s.active.Add(1)
	p := s.path(name)
	now := p.inFlight.Add(1)
	for {
		seen := p.maxInFlight.Load()
		if now <= seen || p.maxInFlight.CompareAndSwap(seen, now) {
			return p, s.scripts[name], s.secrets[name], true
		}
	}
}

func (s *Sink) path(name string) *path {
	if p, ok := s.paths.Load(name); ok {
		return p.(*path)
	}
	p, _ := s.paths.LoadOrStore(name, &path{})
	return p.(*path)
}

// record appends the request, wakes the waiters, and returns its number in its path.
func (s *Sink) record(p *path, c Call, post Post) int {
	if s.keep == KeepCounts {
		c.N = int(p.count.Add(1))
		s.total.Add(1)
		if s.waiting.Load() > 0 {
			s.mu.RLock()
			s.wake()
			s.mu.RUnlock()
		}
		return c.N
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.N = int(p.count.Add(1))
	post.Call = c
	s.posts = append(s.posts, post)
	s.total.Add(1)
	s.wake()
	return c.N
}

func (s *Sink) wake() {
	for w := range s.waiters {
		select {
		case w <- struct{}{}:
		default: // it has not read the last signal yet
		}
	}
}

// Posts returns the requests so far, from the given index on.
func (s *Sink) Posts(from int) []Post {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from >= len(s.posts) {
		return nil
	}
	// The record is append-only, so the returned slice never changes.
	return s.posts[from:len(s.posts):len(s.posts)]
}

// PostsTo returns the requests of one path so far.
func (s *Sink) PostsTo(path string) []Post {
	var out []Post
	for _, p := range s.Posts(0) {
		if p.Path == path {
			out = append(out, p)
		}
	}
	return out
}

// Count is the number of requests so far.
func (s *Sink) Count() int { return int(s.total.Load()) }

// CountTo is the number of requests of one path so far.
func (s *Sink) CountTo(path string) int { return int(s.path(path).count.Load()) }

// InFlight returns the number of a path's unanswered requests, and their maximum so far.
func (s *Sink) InFlight(path string) (now, most int) {
	p := s.path(path)
	return int(p.inFlight.Load()), int(p.maxInFlight.Load())
}

// WaitFor waits until n requests have arrived. The error says how many did.
func (s *Sink) WaitFor(ctx context.Context, n int) error {
	if err := s.Wait(ctx, func() bool { return s.Count() >= n }); err != nil {
		return fmt.Errorf("wait for %d requests, %d came: %w", n, s.Count(), err)
	}
	return nil
}

// WaitForPath waits until n requests of one path have arrived.
func (s *Sink) WaitForPath(ctx context.Context, path string, n int) error {
	if err := s.Wait(ctx, func() bool { return s.CountTo(path) >= n }); err != nil {
		return fmt.Errorf("wait for %d requests to %s, %d came: %w", n, path, s.CountTo(path), err)
	}
	return nil
}

// ErrClosed means that the sink was closed during a wait.
var ErrClosed = errors.New("the sink is closed")

// Wait waits until cond is true. It calls cond at first and after arrivals. Otherwise it returns the
// context's cause or [ErrClosed].
func (s *Sink) Wait(ctx context.Context, cond func() bool) error {
	w := make(chan struct{}, 1)
	s.mu.Lock()
	s.waiters[w] = struct{}{}
	s.mu.Unlock()
	s.waiting.Add(1)
	defer func() {
		s.waiting.Add(-1)
		s.mu.Lock()
		delete(s.waiters, w)
		s.mu.Unlock()
	}()
	for {
		if cond() {
			return nil
		}
		select {
		case <-w:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.closing:
			return ErrClosed
		}
	}
}
