package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/operator"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// DefaultMaxBodyBytes is the default limit of a request's body: four times the
// largest envelope.
const DefaultMaxBodyBytes = 1 << 20

// Options configure the handler.
type Options struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool
	// NC carries wake-up hints to the other processes, questions about lanes and
	// the tail of events. nil: no hints, and the other two answer 503.
	NC *nats.Conn
	// DNSServer is asked for the records that prove domains, host:port; "" means the
	// system's servers.
	DNSServer string
	// JS is where tails read events, on NC; nil: the JetStream of NC's own account.
	JS jetstream.JetStream
	// Limits are the limits of webhooks, and the URLs that they may have.
	Limits subscribers.Limits
	// Secrets seals signing secrets; nil: they are stored in clear.
	Secrets *keyring.Keyring
	// Usage holds tenants to their quotas of the day. Close it when the handler has
	// ended. nil: a counter of the handler's own.
	Usage *usage.Counter
	// Kept says for how long the installation keeps rows. Its times are whole days.
	Kept retention.Policy
	// Blobs holds large raw mails; nil: the database has all.
	Blobs blobs.Store
	// Log takes log messages; nil: silent.
	Log *zap.Logger
	// Registerer takes the metrics; nil: they are not registered.
	Registerer prometheus.Registerer
	// MaxBodyBytes limits a request's body. Defaults to [DefaultMaxBodyBytes].
	MaxBodyBytes int64
	// RateLimit is how many requests a second each tenant may make to this process
	// with all of its keys, with bursts of twice as many. A tenant's quota can be
	// another, and a key can have a lower limit of its own. Zero: only quotas that are
	// set and the keys' own limits apply.
	RateLimit int
	// Doctor makes the checks of `fanmail doctor` until ctx ends. Calls do not overlap. nil: the
	// operation answers 503.
	Doctor func(ctx context.Context) []Finding
	// PublicURL is the URL of this server for browsers, without a path; "": links have the
	// host that the client asked.
	PublicURL string
	// TrustedProxies are the proxies whose X-Forwarded-For says where a request comes
	// from; none: the address of the connection does.
	TrustedProxies []netip.Prefix
	// Ready returns an error while the process cannot serve. Defaults to a ping
	// of the database.
	Ready func(context.Context) error
	// Stopping ends the open tails of events when it is closed, so that they do
	// not delay the process's shutdown. nil: only their clients end them.
	Stopping <-chan struct{}
}

// NewHandler returns the handler of the whole API. An error names the option
// that is wrong.
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
	if o.JS == nil && o.NC != nil {
		js, err := stream.Open(o.NC, "")
		if err != nil {
			return nil, fmt.Errorf("api: %w", err)
		}
		o.JS = js
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("api: Options.Registerer: %w", err)
	}
	hooks := subscribers.NewStore(o.Pool, o.Limits).WithKeyring(o.Secrets)
	s := &server{
		pool: o.Pool, nc: o.NC, waker: outbox.NewWaker(o.NC), js: o.JS, resolver: resolver(o.DNSServer), limits: o.Limits.WithDefaults(), store: hooks, secrets: o.Secrets, blobs: o.Blobs, replays: replay.NewStore(o.Pool).Reading(hooks),
		proxies: o.TrustedProxies, publicURL: o.PublicURL, ownSecret: rand.Text(), log: o.Log, metrics: m, maxBody: o.MaxBodyBytes, rates: newRates(), rateLimit: o.RateLimit, kept: o.Kept.Within(), usage: o.Usage, memory: newMemoryBudget(), ready: o.Ready,
		tails: openCounts{byTenant: map[events.TenantID]int64{}}, polls: openCounts{byTenant: map[events.TenantID]int64{}}, lookups: openCounts{byTenant: map[events.TenantID]int64{}}, delivering: openCounts{byTenant: map[events.TenantID]int64{}},
		previews: openCounts{byTenant: map[events.TenantID]int64{}}, exports: openCounts{byTenant: map[events.TenantID]int64{}}, stopping: o.Stopping, types: eventschema.NewChecker(true),
	}
	s.view, s.doctor.check = operator.New(o.Pool, o.NC, o.JS), o.Doctor
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.log = s.log.Named("api")
	if s.usage == nil {
		s.usage = usage.New(o.Pool, nil)
	}
	if s.maxBody == 0 {
		s.maxBody = DefaultMaxBodyBytes
	}
	if s.ready == nil {
		s.ready = o.Pool.Ping
	}
	mux := http.NewServeMux()
	s.api = humago.New(mux, config())
	s.routes()
	docRoutes(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, `{"status":"ok"}`)
	})
	mux.HandleFunc("GET /readyz", s.serveReady)
	return s.front(mux), nil
}

func (s *server) routes() {
	s.tenantRoutes()
	s.quotaRoutes()
	s.keyRoutes()
	s.portalRoutes()
	s.auditRoutes()
	s.agentRoutes()
	s.agentDeliveryRoutes()
	s.domainRoutes()
	s.webhookRoutes()
	s.pollRoutes()
	s.deliveryRoutes()
	s.eventTypeRoutes()
	s.eventRoutes()
	s.matchRoutes()
	s.requestRoutes()
	s.replayRoutes()
	s.bulkRetryRoutes()
	s.messageRoutes()
	s.erasureRoutes()
	s.attachmentRoutes()
	s.fieldRoutes()
	s.statsRoutes()
	s.activityRoutes()
	s.tailRoutes()
	s.exportRoutes()
	s.operatorRoutes()
	nullEnums(s.api.OpenAPI().Components.Schemas.Map())
}

// OpenAPI builds the API's OpenAPI 3.1 document, which openapi.json keeps for GET /openapi.json. It needs no database.
func OpenAPI() ([]byte, error) {
	m, err := newMetrics(nil)
	if err != nil {
		return nil, err
	}
	s := &server{metrics: m, maxBody: DefaultMaxBodyBytes, api: humago.New(http.NewServeMux(), config())}
	s.routes()
	return document(s.api)
}

// readyTimeout bounds the readiness check.
const readyTimeout = 3 * time.Second

func (s *server) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), readyTimeout, fmt.Errorf("the readiness check took over %s", readyTimeout))
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.Warn("not ready", zap.Error(err))
		writeProblem(w, http.StatusServiceUnavailable, "not ready; see the log")
		return
	}
	writeJSON(w, http.StatusOK, `{"status":"ready"}`)
}

// front wraps the routes. It counts requests, answers for paths and methods
// without a route, and turns a panic into a 500.
func (s *server) front(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		out := &observed{ResponseWriter: w}
		if r.Body != nil && r.Body != http.NoBody {
			out.body = bound(w, r.Body)
			defer out.body.abandon()
			r.Body = out.body
		}
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
			// The mux's own response tells 404 from 405.
			probe := &captured{header: make(http.Header)}
			handler.ServeHTTP(probe, r)
			if allow := probe.header.Get("Allow"); allow != "" {
				h.Set("Allow", allow)
				writeProblem(out, http.StatusMethodNotAllowed, "this path does not support "+r.Method+"; use "+allow)
				return
			}
			writeProblem(out, http.StatusNotFound, "this path does not exist")
			return
		}
		mux.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), routeKey{}, seen)))
	})
}

// observed records the status of a response.
type observed struct {
	http.ResponseWriter
	status int
	body   *boundedBody // nil: the request has none
}

// SetReadDeadline does nothing: the deadline of [bound] holds from the request's
// first byte on.
func (o *observed) SetReadDeadline(time.Time) error { return nil }

// WriteHeader records the status. A response that comes before the end of the
// request's body closes the connection: net/http would else read on, and hold
// the response back meanwhile.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
		if o.body != nil && !o.body.ended {
			o.Header().Set("Connection", "close")
		}
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write records 200 if no status was written.
func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.WriteHeader(http.StatusOK)
	}
	return o.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] find the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }
