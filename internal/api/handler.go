package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// DefaultMaxBodyBytes bounds a request's body unless the options say otherwise:
// four times the largest envelope.
const DefaultMaxBodyBytes = 1 << 20

// Options say what the handler works with.
type Options struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool
	// NC carries hints to the other processes; nil: none are given.
	NC *nats.Conn
	// Limits of webhooks, and which URLs they may have.
	Limits subscribers.Limits
	// Log; nil: nothing is logged.
	Log *zap.Logger
	// Registerer takes the metrics; nil: none are kept.
	Registerer prometheus.Registerer
	// MaxBodyBytes is the size at which a request's body is too large. Zero
	// means [DefaultMaxBodyBytes].
	MaxBodyBytes int64
	// RateLimit is how many requests a second a key may make of this process,
	// with bursts of twice as many. A key may have a lower one of its own.
	// Zero: no limit but the keys' own.
	RateLimit int
	// Ready says whether the process can serve; nil: whether the database
	// answers.
	Ready func(context.Context) error
	// Stopping ends the open tails of events when it is closed, so that they
	// don't hold up the process; nil: only their clients do.
	Stopping <-chan struct{}
	// Version of the build, shown in the OpenAPI document. "" means "dev".
	Version string
}

type server struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	store   *subscribers.Store
	replays *replay.Store
	limits  subscribers.Limits
	log     *zap.Logger
	metrics *metrics
	maxBody int64
	rates   *rates
	shares  *shares
	tails   tails
	// stopping is closed when the process is to stop.
	stopping <-chan struct{}
	ready    func(context.Context) error
	api      huma.API
}

// NewHandler makes the handler of the whole interface. Its errors name the
// option that is wrong.
func NewHandler(o Options) (http.Handler, error) {
	if o.Pool == nil {
		return nil, errors.New("api: Options.Pool is required")
	}
	if o.MaxBodyBytes < 0 {
		return nil, fmt.Errorf("api: Options.MaxBodyBytes is %d; it must not be negative", o.MaxBodyBytes)
	}
	if o.RateLimit < 0 {
		return nil, fmt.Errorf("api: Options.RateLimit is %d; it must not be negative", o.RateLimit)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("api: Options.Registerer: %w", err)
	}
	s := &server{
		pool: o.Pool, nc: o.NC, limits: o.Limits.WithDefaults(), store: subscribers.NewStore(o.Pool, o.Limits), replays: replay.NewStore(o.Pool),
		log: o.Log, metrics: m, maxBody: o.MaxBodyBytes, rates: newRates(o.RateLimit), shares: newShares(), ready: o.Ready,
		tails: tails{byKey: map[events.APIKeyID]int{}}, stopping: o.Stopping,
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.log = s.log.Named("api")
	if s.maxBody == 0 {
		s.maxBody = DefaultMaxBodyBytes
	}
	if s.ready == nil {
		s.ready = o.Pool.Ping
	}
	mux := http.NewServeMux()
	s.api = humago.New(mux, config(o.Version))
	s.routes()
	if err := s.docRoutes(mux); err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, `{"status":"ok"}`)
	})
	mux.HandleFunc("GET /readyz", s.serveReady)
	return s.front(mux), nil
}

func (s *server) routes() {
	s.tenantRoutes()
	s.keyRoutes()
	s.agentRoutes()
	s.webhookRoutes()
	s.deliveryRoutes()
	s.eventRoutes()
	s.replayRoutes()
	s.bulkRetryRoutes()
	s.messageRoutes()
	s.attachmentRoutes()
	s.statsRoutes()
	s.tailRoutes()
}

func (s *server) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), 3*time.Second, errors.New("readiness check took 3s"))
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.Warn("not ready", zap.Error(err))
		writeProblem(w, http.StatusServiceUnavailable, "not ready; see the log")
		return
	}
	writeJSON(w, http.StatusOK, `{"status":"ready"}`)
}

func writeJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body + "\n"))
}

// front stands before the routes: it counts requests, answers for paths and
// methods that have no route, and turns a panic into a 500.
func (s *server) front(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		out := &observed{ResponseWriter: w, bodiless: r.Body == http.NoBody}
		seen := &route{operation: "none"}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
					panic(p)
				}
				s.log.Error("a handler panicked", zap.String("operation", seen.operation), zap.Any("panic", p), zap.Stack("stack"))
				if out.status != 0 {
					panic(http.ErrAbortHandler)
				}
				writeProblem(out, http.StatusInternalServerError, "internal error")
			}
			s.metrics.observe(seen.operation, out.status, time.Since(start))
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		handler, pattern := mux.Handler(r)
		if pattern == "" {
			// The mux's own answer tells 404 from 405; only its words change.
			probe := &captured{header: make(http.Header)}
			handler.ServeHTTP(probe, r)
			if allow := probe.header.Get("Allow"); allow != "" {
				h.Set("Allow", allow)
				writeProblem(out, http.StatusMethodNotAllowed, r.Method+" is not possible here; "+allow+" is")
				return
			}
			writeProblem(out, http.StatusNotFound, "there is nothing at this path")
			return
		}
		mux.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), routeKey{}, seen)))
	})
}

// observed remembers the status of an answer.
type observed struct {
	http.ResponseWriter
	status   int
	bodiless bool // the request has no body
}

// SetReadDeadline bounds the reading of a body. Where there is none, net/http
// is already watching the connection for the client's leaving, and would take
// a deadline that passes for that.
func (o *observed) SetReadDeadline(t time.Time) error {
	if o.bodiless {
		return nil
	}
	return http.NewResponseController(o.ResponseWriter).SetReadDeadline(t)
}

// WriteHeader remembers the status.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write is a 200 where no status was given.
func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// The hints. Each is given after the commit that it tells of.

func (s *server) wakeOutbox() { outbox.Wake(s.nc) }

func (s *server) wakeWebhooks() {
	subscribers.WakeRegistry(s.nc)
}

func (s *server) wakeLane(w events.WebhookID) {
	subscribers.WakeLane(s.nc, w)
}
