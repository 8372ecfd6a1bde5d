package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// rawChunk is how many bytes of a raw message are in memory at a time.
	rawChunk = 256 << 10
	// chunkTimeout is how long a client may take to read one chunk.
	chunkTimeout = 30 * time.Second
)

// message is mail that an agent received.
type message struct {
	ID        events.MessageID `json:"id" example:"msg_0123456789abcdef0123456789abcdef"`
	AgentID   string           `json:"agent_id"`
	EventID   events.ID        `json:"event_id"`
	CreatedAt time.Time        `json:"created_at"`
	Size      int64            `json:"size" doc:"The size of the raw message, in bytes."`
	RawURL    string           `json:"raw_url"`
	Message   json.RawMessage  `json:"message" doc:"The parsed message: the data of its event."`
}

type messagePath struct {
	ID events.MessageID `path:"id"`
}

func (s *server) messageRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "get-message", Method: http.MethodGet, Path: "/v1/messages/{id}", Summary: "Read a parsed message",
	}, func(ctx context.Context, in *messagePath) (*body[message], error) {
		m := message{ID: in.ID, RawURL: "/v1/messages/" + in.ID.String() + "/raw"}
		var envelope []byte
		err := s.pool.QueryRow(ctx, `SELECT m.agent_id, m.event_id, m.created_at, m.raw_size, e.envelope
			FROM fanmail.messages AS m LEFT JOIN fanmail.events AS e ON e.id = m.event_id AND e.created_at = m.created_at AND e.tenant_id = $1
			WHERE m.tenant_id = $1 AND m.id = $2`, tenant(ctx), in.ID).Scan(&m.AgentID, &m.EventID, &m.CreatedAt, &m.Size, &envelope)
		if err != nil {
			return nil, fmt.Errorf("read a message: %w", err) // no rows: 404
		}
		m.CreatedAt = m.CreatedAt.UTC()
		if envelope != nil {
			env, err := events.DecodeEnvelope(envelope)
			if err != nil {
				return nil, fmt.Errorf("read a message's event: %w", err)
			}
			m.Message = env.Data
		}
		return reply(m), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "get-raw-message", Method: http.MethodGet, Path: "/v1/messages/{id}/raw", Summary: "Read a raw message",
		Responses: map[string]*huma.Response{"200": {
			Description: "The message, byte for byte as it was received.",
			Content:     map[string]*huma.MediaType{"message/rfc822": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}},
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	}, s.rawMessage)
}

func (s *server) rawMessage(ctx context.Context, in *messagePath) (*streamed, error) {
	raw := rawSource{}
	err := s.pool.QueryRow(ctx, `SELECT raw_id, created_at, raw_size FROM fanmail.messages WHERE tenant_id = $1 AND id = $2`,
		tenant(ctx), in.ID).Scan(&raw.id, &raw.createdAt, &raw.size)
	if err != nil {
		return nil, fmt.Errorf("read a message: %w", err) // no rows: 404
	}
	// Read before the status is written, so that an unavailable database is a
	// 503 instead of a truncated response.
	chunk, err := s.rawPart(ctx, &raw, 0)
	if err != nil {
		return nil, err
	}
	return &streamed{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", "message/rfc822")
		hc.SetHeader("Content-Length", strconv.FormatInt(raw.size, 10))
		// The message is a stranger's text: a browser must not run it.
		hc.SetHeader("Content-Disposition", `attachment; filename="`+in.ID.String()+`.eml"`)
		hc.SetHeader("Content-Security-Policy", "sandbox")
		hc.SetStatus(http.StatusOK)
		if err := s.stream(ctx, w, &raw, chunk); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sending a raw message broke off", zap.Stringer("message_id", in.ID), zap.Error(err))
			}
			panic(http.ErrAbortHandler) // the only way to tell the client
		}
	}}, nil
}

type rawSource struct {
	id        [16]byte
	createdAt time.Time
	size      int64
}

func (s *server) stream(ctx context.Context, w http.ResponseWriter, raw *rawSource, chunk []byte) error {
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	var sent int64
	for {
		if err := control.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("send a raw message: %w", err)
		}
		if _, err := w.Write(chunk); err != nil {
			return fmt.Errorf("send a raw message: %w", err)
		}
		if sent += int64(len(chunk)); sent >= raw.size {
			return nil
		}
		var err error
		if chunk, err = s.rawPart(ctx, raw, sent); err != nil {
			return err
		}
		if len(chunk) == 0 {
			return fmt.Errorf("send a raw message: it has %d bytes of %d: %w", sent, raw.size, io.ErrUnexpectedEOF)
		}
	}
}

// rawPart reads a chunk. The column is stored uncompressed, so that this reads
// no more than it gives. The caller has checked whose message it is.
func (s *server) rawPart(ctx context.Context, raw *rawSource, from int64) ([]byte, error) {
	var chunk []byte
	err := s.pool.QueryRow(ctx, `SELECT substring(raw FROM $3::integer FOR $4::integer) FROM fanmail.message_raws WHERE id = $1 AND created_at = $2`,
		raw.id, raw.createdAt, from+1, rawChunk).Scan(&chunk)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem(http.StatusNotFound, "the raw message is gone")
	}
	if err != nil {
		return nil, fmt.Errorf("read a raw message: %w", err)
	}
	return chunk, nil
}
