package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255
	// idempotencyTTL is how long an answer is kept.
	idempotencyTTL = 24 * time.Hour
	// bodyTimeout is how long a client may take to send a request's body.
	bodyTimeout = 5 * time.Second
)

// unit is the transaction of a change, and what is to be done after it.
type unit struct {
	pgx.Tx
	after []func()
}

// then does f once the change is committed.
func (u *unit) then(f func()) { u.after = append(u.after, f) }

type unitKey struct{}

// change runs f in a transaction: the request's own where it has an
// Idempotency-Key, whose memory is then part of it, else a new one.
func (s *server) change(ctx context.Context, f func(u *unit) error) error {
	if u, ok := ctx.Value(unitKey{}).(*unit); ok {
		return f(u)
	}
	u := &unit{}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		u.Tx = tx
		return f(u)
	})
	if err != nil {
		return err
	}
	u.done()
	return nil
}

func (u *unit) done() {
	for _, f := range u.after {
		f()
	}
}

// captured is an answer that is held back until its transaction has committed.
type captured struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the answer's.
func (c *captured) Header() http.Header { return c.header }

// WriteHeader keeps the first status.
func (c *captured) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

// Write keeps the bytes.
func (c *captured) Write(b []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(b)
}

func (c *captured) send(w http.ResponseWriter) {
	for k, v := range c.header {
		w.Header()[k] = v
	}
	w.WriteHeader(c.status)
	_, _ = w.Write(c.body.Bytes())
}

// errRefused rolls the request's transaction back; its answer is captured.
var errRefused = errors.New("the request was refused")

// once makes a request with an Idempotency-Key take effect once: the handler
// runs inside a transaction that also keeps the answer. Only success is kept.
func (s *server) once(ctx huma.Context, next func(huma.Context)) {
	key := ctx.Header(idempotencyHeader)
	if key == "" {
		next(ctx)
		return
	}
	if len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		s.refuse(ctx, fault("header."+idempotencyHeader, "must be at most %d printable ASCII characters", maxIdempotencyKey))
		return
	}
	_ = ctx.SetReadDeadline(time.Now().Add(bodyTimeout))
	sent, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), s.maxBody))
	if err != nil {
		s.refuse(ctx, problem(http.StatusRequestTimeout, "the request's body could not be read"))
		return
	}
	r, w := humago.Unwrap(ctx)
	// What is read here is given to the handler again, which finds an
	// oversized body by its length.
	answer := &captured{header: make(http.Header)}
	u := &unit{}
	err = pgx.BeginFunc(ctx.Context(), s.pool, func(tx pgx.Tx) error {
		u.Tx = tx
		who := caller(ctx.Context())
		k := remembered{tenant: who.TenantID, key: key, hash: requestHash(r, who, sent)}
		kept, err := k.recall(ctx.Context(), tx)
		if err != nil {
			return err
		}
		if kept != nil {
			answer = kept
			return nil
		}
		again := r.WithContext(context.WithValue(ctx.Context(), unitKey{}, u))
		again.Body = io.NopCloser(bytes.NewReader(sent))
		next(humago.NewContext(ctx.Operation(), again, answer))
		if answer.status < 200 || answer.status > 299 {
			return errRefused
		}
		return k.keep(ctx.Context(), tx, answer)
	})
	switch {
	case err == nil:
		u.done()
		answer.send(w)
	case errors.Is(err, errRefused):
		answer.send(w)
	default:
		s.refuse(ctx, err)
	}
}

// requestHash tells requests apart. The scopes are part of it: a narrower key
// must not be given what a wider one was answered.
func requestHash(r *http.Request, p *tenancy.Principal, sent []byte) []byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %s?%s\n%q\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, p.Scopes)
	h.Write(sent)
	return h.Sum(nil)
}

// remembered is a row of idempotency_keys.
type remembered struct {
	tenant events.TenantID // zero: the operator's
	key    string
	hash   []byte
}

// id is the tenant as the table has it: all zeros for the operator.
func (k *remembered) id() pgtype.UUID { return pgtype.UUID{Bytes: k.tenant, Valid: true} }

// recall gives the answer that is kept for the key, nil where the request is
// new. While another request with the key runs, that is the answer: 409.
func (k *remembered) recall(ctx context.Context, tx pgx.Tx) (*captured, error) {
	var mine bool
	err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text || $2, 7))`, k.id(), k.key).Scan(&mine)
	if err != nil {
		return nil, fmt.Errorf("lock an idempotency key: %w", err)
	}
	if !mine {
		return nil, huma.ErrorWithHeaders(problem(http.StatusConflict, "a request with this %s is still running", idempotencyHeader),
			http.Header{"Retry-After": {"1"}})
	}
	var was, response []byte
	var status int
	err = tx.QueryRow(ctx, `SELECT request_hash, status, response FROM fanmail.idempotency_keys
		WHERE tenant_id = $1 AND key = $2 AND created_at > now() - make_interval(secs => $3)`, k.id(), k.key, idempotencyTTL.Seconds()).Scan(&was, &status, &response)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // a new request has no answer yet, and that is no error
	}
	if err != nil {
		return nil, fmt.Errorf("look up an idempotency key: %w", err)
	}
	if !bytes.Equal(was, k.hash) {
		return nil, fault("header."+idempotencyHeader, "was used for another request within 24 hours")
	}
	c := &captured{header: http.Header{"Idempotent-Replayed": {"true"}}, status: status}
	if len(response) > 0 {
		c.header.Set("Content-Type", "application/json")
		c.body.Write(response)
	}
	return c, nil
}

// keep writes the answer down. Maintenance forgets it when its time is over.
func (k *remembered) keep(ctx context.Context, tx pgx.Tx, c *captured) error {
	_, err := tx.Exec(ctx, `INSERT INTO fanmail.idempotency_keys (tenant_id, key, request_hash, status, response) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, key) DO UPDATE SET request_hash = excluded.request_hash, status = excluded.status,
			response = excluded.response, created_at = excluded.created_at`, k.id(), k.key, k.hash, c.status, c.body.Bytes())
	if err != nil {
		return fmt.Errorf("keep an idempotency key: %w", err)
	}
	return nil
}

// RetentionRules are the rules for idempotency_keys: answers are kept for 24 hours.
// Older ones are ignored, so that a late run does no harm.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("delete old idempotency keys",
		`DELETE FROM fanmail.idempotency_keys WHERE created_at < now() - make_interval(secs => $1)`, idempotencyTTL.Seconds())}
}
