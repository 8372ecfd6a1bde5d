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

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
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

// errRefused rolls the request's transaction back. The response is captured.
var errRefused = errors.New("the request was rejected")

// once makes a request with an Idempotency-Key take effect once: the handler
// runs in a transaction that also stores the response. Only a 2xx is stored. The
// response is replayed to the same API key only.
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
	sent, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), s.maxBody))
	if err != nil {
		s.refuse(ctx, problem(http.StatusRequestTimeout, "the request's body could not be read in time"))
		return
	}
	r, w := humago.Unwrap(ctx)
	// The handler reads these bytes again. It rejects a body that is too large.
	answer := &captured{header: make(http.Header)}
	u := &unit{}
	err = pgx.BeginFunc(ctx.Context(), s.pool, func(tx pgx.Tx) error {
		u.Tx = tx
		who := caller(ctx.Context())
		k := storedResponse{tenant: who.TenantID, key: key, seal: sealOf(ctx.Context())}
		k.hash = k.seal.sum(fmt.Appendf(nil, "%s %s?%s\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery), sent)
		stored, err := k.load(ctx.Context(), tx)
		if err != nil {
			return err
		}
		if stored != nil {
			answer = stored
			return nil
		}
		request := r.WithContext(context.WithValue(ctx.Context(), unitKey{}, u))
		request.Body = io.NopCloser(bytes.NewReader(sent))
		next(humago.NewContext(ctx.Operation(), request, answer))
		if answer.status < 200 || answer.status > 299 {
			return errRefused
		}
		return k.store(ctx.Context(), tx, answer)
	})
	switch {
	case err == nil:
		u.committed()
		answer.send(w)
	case errors.Is(err, errRefused):
		answer.send(w)
	default:
		s.refuse(ctx, err)
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

// load returns the stored response, nil for a new request. While another
// request with the same key runs, it returns a 409.
func (k *storedResponse) load(ctx context.Context, tx pgx.Tx) (*captured, error) {
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

// RetentionRules deletes stored responses after 24 hours. Requests ignore older ones, so that a late run does no harm.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("delete old idempotency keys",
		`DELETE FROM fanmail.idempotency_keys WHERE created_at < now() - make_interval(secs => $1)`, idempotencyTTL.Seconds())}
}
