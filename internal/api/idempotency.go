package api

import (
	"bytes"
	"context"
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
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/audit"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255
	// idempotencyTTL is how long a response is stored.
	idempotencyTTL = 24 * time.Hour
)

// captured is a response that waits in memory for the commit of its transaction.
type captured struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the response's header.
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

// errAnswered ends a handler whose Idempotency-Key has got a response since the request began.
var errAnswered = problem(http.StatusConflict, "this request has a response already")

// once makes a request with an Idempotency-Key take effect once: the transaction of
// its change also stores the response. Only a 2xx is stored, and only of a request that has
// changed something: all that changes a table counts against a quota, and so do the
// responses. The response is replayed to the same API key only. No connection is held before the change, so
// that a handler may wait for a network until then.
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
	// The handler reads these bytes again. It rejects a body that is too large.
	sent, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), s.maxBody))
	if err != nil {
		s.refuse(ctx, unreadable(err))
		return
	}
	r, w := humago.Unwrap(ctx)
	k := &storedResponse{tenant: caller(ctx.Context()).TenantID, key: key, seal: sealOf(ctx.Context())}
	k.hash = k.seal.sum(fmt.Appendf(nil, "%s %s?%s\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery), sent)
	answer, err := k.load(ctx.Context(), s.pool)
	if err == nil && answer == nil {
		u := &keyedUnit{key: k}
		u.begin = func(ctx context.Context) error { return u.claim(ctx, s.pool) }
		request := r.WithContext(context.WithValue(ctx.Context(), unitKey{}, &u.unit))
		request.Body = io.NopCloser(bytes.NewReader(sent))
		answer, err = s.run(ctx.Context(), u, func(answer *captured) { next(humago.NewContext(ctx.Operation(), request, answer)) })
	}
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	answer.send(w)
}

// run runs a handler, stores its response in the transaction of its change, and commits.
// Without a change there is nothing to take effect once.
func (s *server) run(ctx context.Context, u *keyedUnit, handle func(*captured)) (*captured, error) {
	defer u.close()
	defer u.discard(ctx)
	answer := &captured{header: make(http.Header)}
	handle(answer)
	if u.stored != nil {
		return u.stored, nil
	}
	if answer.status < 200 || answer.status > 299 {
		return answer, nil
	}
	if e, ok := ctx.Value(entryKey{}).(entry); u.Tx == nil && (!ok || !e.announced()) {
		return answer, nil
	}
	if err := u.begin(ctx); err != nil {
		if u.stored != nil {
			return u.stored, nil
		}
		return nil, err
	}
	if !u.unchanged {
		if err := u.key.store(ctx, u, answer); err != nil {
			return nil, err
		}
	}
	if err := u.Commit(ctx); err != nil {
		return nil, fmt.Errorf("commit a change: %w", err)
	}
	u.committed()
	return answer, nil
}

// keyedUnit is the unit of a request with an Idempotency-Key.
type keyedUnit struct {
	unit
	key    *storedResponse
	stored *captured // the response that the key has got since the request began; nil: none
}

// claim opens the transaction, if it is not open, and claims the key until its end. It
// returns [errAnswered] if the key has a response.
func (u *keyedUnit) claim(ctx context.Context, pool *pgxpool.Pool) error {
	switch {
	case u.stored != nil:
		return errAnswered
	case u.Tx != nil:
		return nil
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin a change: %w", err)
	}
	if err = u.key.claim(ctx, tx); err == nil {
		u.stored, err = u.key.load(ctx, tx)
	}
	if err == nil && u.stored != nil {
		err = errAnswered
	}
	if err != nil {
		_ = tx.Rollback(ctx)
		return err
	}
	u.Tx = tx
	return nil
}

// discard rolls back what was not committed.
func (u *keyedUnit) discard(ctx context.Context) {
	if u.Tx != nil {
		_ = u.Rollback(ctx)
	}
}

// storedResponse is a row of idempotency_keys.
type storedResponse struct {
	tenant events.TenantID // zero: an operator
	key    string
	hash   []byte
	seal   *seal
}

// id is the tenant as the table stores it: all zeros for an operator.
func (k *storedResponse) id() pgtype.UUID { return pgtype.UUID{Bytes: k.tenant, Valid: true} }

// claim locks the key until the transaction ends. While another request with it
// has the lock, it returns a 409.
func (k *storedResponse) claim(ctx context.Context, tx pgx.Tx) error {
	var mine bool
	err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text || $2, 7))`, k.id(), k.key).Scan(&mine)
	if err != nil {
		return fmt.Errorf("lock an idempotency key: %w", err)
	}
	if !mine {
		return huma.ErrorWithHeaders(problem(http.StatusConflict, "a request with this %s is still running", idempotencyHeader),
			http.Header{"Retry-After": {"1"}})
	}
	return nil
}

// load returns the stored response, nil for a new request.
func (k *storedResponse) load(ctx context.Context, db pg.DB) (*captured, error) {
	var was, response []byte
	var status int
	err := db.QueryRow(ctx, `SELECT request_hash, status, response FROM fanmail.idempotency_keys
		WHERE tenant_id = $1 AND key = $2 AND created_at > now() - make_interval(secs => $3)`, k.id(), k.key, idempotencyTTL.Seconds()).Scan(&was, &status, &response)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // a new request has no response yet, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("look up an idempotency key: %w", err)
	}
	if !bytes.Equal(was, k.hash) {
		return nil, fault("header."+idempotencyHeader, "was used for another request, or with another API key, within 24 hours")
	}
	if response, err = k.seal.open(response, k.context()); err != nil {
		return nil, fmt.Errorf("read a stored response: %w", err)
	}
	c := &captured{header: http.Header{"Idempotent-Replayed": {"true"}}, status: status}
	if len(response) > 0 {
		c.header.Set("Content-Type", "application/json")
		c.body.Write(response)
	}
	return c, nil
}

// context is what a sealed response belongs to. It is authenticated with the
// response, so that a response copied to another row cannot be opened.
func (k *storedResponse) context() []byte { return append(append(k.tenant[:], k.hash...), k.key...) }

// store stores the response, sealed. [RetentionRules] deletes it after 24 hours.
func (k *storedResponse) store(ctx context.Context, tx pgx.Tx, c *captured) error {
	_, err := tx.Exec(ctx, `INSERT INTO fanmail.idempotency_keys (tenant_id, key, request_hash, status, response) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, key) DO UPDATE SET request_hash = excluded.request_hash, status = excluded.status,
			response = excluded.response, created_at = excluded.created_at`, k.id(), k.key, k.hash, c.status, k.seal.seal(c.body.Bytes(), k.context()))
	if err != nil {
		return fmt.Errorf("store an idempotency key: %w", err)
	}
	return nil
}

// RetentionRules deletes stored responses after 24 hours, and revoked keys and ended portal links after 30 days. Requests
// ignore older responses, so that a late run does no harm.
func RetentionRules(keepAudit time.Duration) []retention.Rule {
	return append(audit.RetentionRules(keepAudit), []retention.Rule{
		retention.Rows("delete the keys that were revoked long ago", tenancy.DeleteRevoked, tenancy.KeepRevoked.Seconds()),
		retention.Rows("delete the portal links that ended long ago", tenancy.DeletePortals, tenancy.KeepPortals.Seconds()),
		retention.Rows("delete old idempotency keys",
			`DELETE FROM fanmail.idempotency_keys WHERE created_at < now() - make_interval(secs => $1)`, idempotencyTTL.Seconds()),
	}...)
}
