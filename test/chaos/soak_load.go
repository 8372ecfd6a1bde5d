package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// soaking is a running soak.
type soaking struct {
	r        *rig
	duration time.Duration
	began    time.Time
	tenant   *tenant
	target   *target
	serial   atomic.Int64 // events so far
	samples  []sample
	counted  float64 // deliveries up to the last sample
	record   *json.Encoder
}

// run makes load and takes samples until during ends.
func (s *soaking) run(during, ctx context.Context) error {
	var g errgroup.Group
	// A tenth arrives as mail, the rest in ten transactions a second.
	const perSecond = soakRate / soakHooks
	g.Go(func() error {
		send := (&load{r: s.r}).mail()
		return s.pace(during, time.Second/(perSecond/10), func() error {
			subject := subject(s.serial.Add(1))
			return s.persist(ctx, func() error {
				_, err := send(ctx, s.tenant, subject, s.tenant.agents[0])
				return err
			})
		})
	})
	g.Go(func() error {
		text := strings.Repeat("Some text of a mail, which is not short. ", 25)
		return s.pace(during, time.Second/10, func() error {
			evs := make([]events.Event, perSecond*9/100)
			for i := range evs {
				data, err := json.Marshal(map[string]any{"subject": subject(s.serial.Add(1)), "text": text})
				if err != nil {
					return err
				}
				id, err := events.Parse[events.TenantKind](s.tenant.id)
				if err != nil {
					return err
				}
				evs[i] = events.Event{TenantID: id, Type: events.EmailReceived, AgentID: s.tenant.agents[0], Data: data}
			}
			err := s.persist(ctx, func() error {
				return pgx.BeginFunc(ctx, s.r.pool, func(tx pgx.Tx) error {
					_, err := outbox.InsertMany(ctx, tx, evs)
					return err
				})
			})
			outbox.Wake(s.r.broker)
			return err
		})
	})
	g.Go(func() error {
		return s.pace(during, max(s.duration/360, time.Second), func() error { s.sample(ctx); return nil })
	})
	return g.Wait()
}

// pace calls a function at a mean interval. After a delay it catches up.
func (s *soaking) pace(ctx context.Context, every time.Duration, do func() error) error {
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next = next.Add(every)
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// persist retries for a minute. A soak has no faults, but an SMTP server may ask clients to come back.
func (s *soaking) persist(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("an event was not accepted within a minute"))
	defer cancel()
	return backoff.Retry(do, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
}

// rate is the mean of deliveries a second that the load asked for.
func (s *soaking) rate() float64 { return float64(s.serial.Load()*soakHooks) / s.duration.Seconds() }

func subject(n int64) string { return fmt.Sprintf("soak-%09d", n) }

// target counts POSTs. Its first endpoint answers at once, the second slowly, and the third refuses
// one first attempt in a hundred.
type target struct {
	base     string
	server   *http.Server
	served   chan struct{}
	secrets  [soakHooks]string
	unsigned atomic.Int64
	came     atomic.Int64 // 2xx answers

	mu   sync.Mutex
	seen [soakHooks][]uint8 // 2xx answers for each event, by its serial number
}

func startTarget(ctx context.Context, most int) (*target, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &target{base: "http://" + l.Addr().String() + "/", served: make(chan struct{})}
	for n := range t.seen {
		t.seen[n] = make([]uint8, 2*most)
	}
	t.server = &http.Server{Handler: t, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(t.served)
		_ = t.server.Serve(l)
	}()
	return t, nil
}

func (t *target) close() {
	_ = t.server.Close()
	<-t.served
}

func (t *target) url(n int) string { return t.base + strconv.Itoa(n) }

// ServeHTTP counts a POST.
func (t *target) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(req.Body)
	hook, bad := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/"))
	if err != nil || bad != nil || hook >= soakHooks {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var envelope struct{ Data struct{ Subject string } }
	_ = json.Unmarshal(body, &envelope) // an unreadable body has no token
	n, err := strconv.Atoi(strings.TrimPrefix(envelope.Data.Subject, "soak-"))
	if err != nil || n >= len(t.seen[hook]) || sink.Verify(t.secrets[hook], req.Header, body, at) != nil {
		t.unsigned.Add(1)
		return
	}
	switch {
	case hook == 1:
		last(req.Context(), rand.N(100*time.Millisecond))
	case hook == 2 && n%100 == 0 && req.Header.Get(sink.HeaderAttempt) == "1":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	t.came.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[hook][n] < 255 {
		t.seen[hook][n]++
	}
}

// count compares the POSTs with the events up to the serial number.
func (t *target) count(events int64) (missing, twice int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, seen := range t.seen {
		for _, n := range seen[1 : events+1] {
			switch {
			case n == 0:
				missing++
			case n > 1:
				twice += int(n) - 1
			}
		}
	}
	return missing, twice
}
