package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/operator"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// server holds what the handlers work with.
type server struct {
	pool     *pgxpool.Pool
	nc       *nats.Conn // may be nil
	waker    *outbox.Waker
	js       jetstream.JetStream // nil as nc
	resolver *net.Resolver
	store    *subscribers.Store
	replays  *replay.Store
	limits   subscribers.Limits
	proxies  []netip.Prefix // whose X-Forwarded-For is believed
	// publicURL is the URL of this server for browsers; "": the host that was asked.
	publicURL string
	// ownSecret encrypts the stored responses of in-process callers without a secret.
	ownSecret string
	secrets   *keyring.Keyring
	blobs     blobs.Store // nil: none
	log       *zap.Logger
	metrics   *metrics
	maxBody   int64
	rates     *rates
	// rateLimit is in requests a second of a tenant; 0: none.
	rateLimit int
	kept      retention.Policy
	usage     *usage.Counter
	types     *eventschema.Checker
	memory    *memoryBudget
	tails     openCounts
	polls     openCounts // that wait
	lookups   openCounts // of domains' records
	// delivering counts messages that are delivered on request.
	delivering openCounts
	previews   openCounts // of replays
	exports    openCounts // those of the zero tenant are all
	view       *operator.View
	doctor     doctor
	// stopping is closed when the process stops.
	stopping <-chan struct{}
	ready    func(context.Context) error
	api      huma.API
}

// unit is the transaction of a change, and the calls that follow its commit.
type unit struct {
	pgx.Tx
	after []func()
	// ended are called when the transaction has ended, with whether it is committed.
	ended []func(committed bool)
	done  bool // it is committed
	// before and now are what the audit log shows of the changed object.
	before, now any
	// unchanged: the request asked for what is so already. It has no entry in the audit log, and its response is not stored.
	unchanged bool
	// events: it counted as events of the tenant's day, so that it does not count as a change.
	events bool
	// of is whose object an operator changes, where neither path, query nor body says it.
	of events.TenantID
	// begin opens the transaction of a request with an Idempotency-Key, if it is not open; nil for other requests.
	begin func(context.Context) error
}

// then runs f after the commit.
func (u *unit) then(f func()) { u.after = append(u.after, f) }

func (u *unit) committed() {
	u.done = true
	for _, f := range u.after {
		f()
	}
}

func (u *unit) close() {
	for _, f := range u.ended {
		f(u.done)
	}
}

type unitKey struct{}

// was says what the object of a change was before it.
func (u *unit) was(object any) { u.before = object }

// became says what the object is after it.
func (u *unit) became(object any) { u.now = object }

// entryKey finds the entry of the audit log in the context of a request.
type entryKey struct{}

// entry is the entry of a request in the audit log.
type entry interface {
	// room returns a 429 where no change is left to the caller's day, before the change costs anything.
	room(ctx context.Context, u *unit) error
	// record writes the entry and counts it against the changes of the caller's day, or returns a 429.
	record(ctx context.Context, u *unit) error
	// announced reports whether the entry is written.
	announced() bool
}

// record writes the audit log's entry of a request, if it has one, and counts it.
func record(ctx context.Context, u *unit) error {
	if e, ok := ctx.Value(entryKey{}).(entry); ok {
		return e.record(ctx, u)
	}
	return nil
}

// announce writes the audit log's entry of a request before the request has its effect. It
// is for what another process does and nobody can take back.
func (s *server) announce(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return record(ctx, &unit{Tx: tx}) })
}

// change runs f in a transaction that counts against the changes of the tenant's day, or
// returns a 429. See transact.
func (s *server) change(ctx context.Context, f func(u *unit) error) error {
	return s.transact(ctx, func(u *unit) error {
		if e, ok := ctx.Value(entryKey{}).(entry); ok {
			if err := e.room(ctx, u); err != nil {
				return err
			}
		}
		return f(u)
	})
}

// transact runs f in a transaction. That of a request with an Idempotency-Key also
// stores its response, and is open until the handler has returned: from here on the
// handler must neither wait for a network nor use the pool.
func (s *server) transact(ctx context.Context, f func(u *unit) error) error {
	if u, ok := ctx.Value(unitKey{}).(*unit); ok {
		if err := u.begin(ctx); err != nil {
			return err
		}
		if err := f(u); err != nil {
			return err
		}
		return record(ctx, u)
	}
	u := &unit{}
	defer u.close()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		u.Tx = tx
		if err := f(u); err != nil {
			return err
		}
		return record(ctx, u)
	})
	if err != nil {
		return err
	}
	u.committed()
	return nil
}

// answer turns a handler's error into a response. An unknown error is logged,
// and the client sees "internal error".
func (s *server) answer(ctx context.Context, operation string, err error) error {
	var status huma.StatusError
	var field *events.FieldError
	var limit *subscribers.LimitError
	var rotations *subscribers.RotationLimitError
	var missing *keyring.MissingKeyError
	var deleted *events.DeletedTenantError
	switch {
	case errors.As(err, &status):
		return err
	case errors.As(err, &field) && field.Field == "body":
		return huma.NewError(http.StatusBadRequest, "body: "+field.Reason, &huma.ErrorDetail{Location: "body", Message: field.Reason})
	case errors.As(err, &field):
		return fault("body."+field.Field, "%s", field.Reason)
	case errors.As(err, &limit) && limit.Name == "webhooks":
		s.metrics.overQuota.WithLabelValues(limit.Name).Inc()
		return problem(http.StatusConflict, "%s", err)
	case errors.As(err, &limit), errors.As(err, &rotations), errors.As(err, &deleted), errors.Is(err, subscribers.ErrDisabled), errors.Is(err, subscribers.ErrPaused), errors.Is(err, subscribers.ErrCooldown),
		errors.Is(err, subscribers.ErrPull), errors.Is(err, subscribers.ErrPush),
		errors.Is(err, subscribers.ErrDelivered), errors.Is(err, subscribers.ErrDeleted), errors.Is(err, subscribers.ErrExpired),
		errors.Is(err, subscribers.ErrInFlight), errors.Is(err, subscribers.ErrAttempts), errors.Is(err, replay.ErrCompleted):
		return problem(http.StatusConflict, "%s", err)
	case errors.Is(err, tenancy.ErrUnauthenticated):
		return problem(http.StatusUnauthorized, "the key is unknown, revoked or expired")
	case errors.Is(err, subscribers.ErrNotFound), errors.Is(err, pgx.ErrNoRows):
		return problem(http.StatusNotFound, "not found")
	case errors.As(err, &missing), errors.Is(err, keyring.ErrDamaged):
		s.log.Error("a secret can't be stored", zap.String("operation", operation), zap.Error(err))
		return problem(http.StatusServiceUnavailable, "this server can't encrypt secrets: its key is missing; tell the operator")
	case ctx.Err() != nil:
		return problem(statusClientClosed, "the client closed the request")
	case unavailable(err):
		s.log.Warn("the database is unavailable", zap.String("operation", operation), zap.Error(err))
		return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, "the database is unavailable; try again"),
			http.Header{"Retry-After": {"1"}})
	}
	s.log.Error("a request failed", zap.String("operation", operation), zap.Error(err))
	return problem(http.StatusInternalServerError, "internal error")
}

// refuse writes the response for an error of a middleware.
func (s *server) refuse(ctx huma.Context, err error) {
	err = s.answer(ctx.Context(), ctx.Operation().OperationID, err)
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		for k, values := range headers.GetHeaders() {
			for _, v := range values {
				ctx.AppendHeader(k, v)
			}
		}
	}
	var model *huma.ErrorModel
	if !errors.As(err, &model) {
		model = &huma.ErrorModel{Status: http.StatusInternalServerError, Detail: "internal error"}
	}
	details := make([]error, len(model.Errors))
	for i, d := range model.Errors {
		details[i] = d
	}
	_ = huma.WriteErr(s.api, ctx, model.Status, model.Detail, details...)
}

// The wake-up hints. Publish each after the commit of its change.

func (s *server) wakeOutbox() { s.waker.Wake() }

func (s *server) wakeWebhooks() { subscribers.WakeRegistry(s.nc) }

func (s *server) wakeLane(w events.WebhookID) { subscribers.WakeDue(s.nc, w) }

func (s *server) wakePolls(w events.WebhookID) { subscribers.WakePolls(s.nc, w) }

func (s *server) wakeReplays() { replay.Wake(s.nc) }
