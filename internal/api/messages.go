package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// chunkTimeout is how long a client may take to read one chunk.
const chunkTimeout = 30 * time.Second

// message is a mail that an agent received.
type message struct {
	ID        events.MessageID `json:"id" example:"msg_0123456789abcdef0123456789abcdef"`
	AgentID   string           `json:"agent_id"`
	EventID   events.ID        `json:"event_id"`
	CreatedAt time.Time        `json:"created_at"`
	Size      int64            `json:"size" doc:"The size of the raw message, in bytes."`
	RawURL    string           `json:"raw_url"`
	Message   json.RawMessage  `json:"message" doc:"The parsed message: the data of its event. It is null if the event is gone, or if its envelope has another form."`
}

type messagePath struct {
	ID events.MessageID `path:"id"`
}

func (s *server) messageRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "get-message", Method: http.MethodGet, Path: "/v1/messages/{id}", Summary: "Read a parsed message",
	}, s.getMessage)
	register(s, tenants, huma.Operation{
		OperationID: "get-raw-message", Method: http.MethodGet, Path: "/v1/messages/{id}/raw", Summary: "Read a raw message",
		Responses: map[string]*huma.Response{"200": {
			Description: "The message, byte for byte as it was received.",
			Content:     map[string]*huma.MediaType{"message/rfc822": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}},
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	}, s.rawMessage)
}

func (s *server) getMessage(ctx context.Context, in *messagePath) (*body[message], error) {
	found, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err // no rows: 404
	}
	var event outbox.EventRefs
	event.Add(found.EventID, found.CreatedAt)
	payloads, err := outbox.Envelopes(ctx, s.pool, event)
	if err != nil {
		return nil, err
	}
	m := message{
		ID: in.ID, AgentID: found.AgentID, EventID: found.EventID, CreatedAt: found.CreatedAt, Size: found.Raw.Size,
		RawURL: "/v1/messages/" + in.ID.String() + "/raw",
	}
	if p, ok := payloads[found.EventID]; ok {
		// An imported event may have another form. The rest of the message is known.
		if env, err := events.DecodeEnvelope(p.Envelope); err == nil {
			m.Message = env.Data
		}
	}
	return reply(m), nil
}

func (s *server) rawMessage(ctx context.Context, in *messagePath) (*streamed, error) {
	m, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err // no rows: 404
	}
	raw := m.Raw
	// Read before the status is written, so that an unavailable database is a
	// 503 instead of a truncated response.
	chunk, err := raw.Chunk(ctx, s.pool, 0)
	if err != nil {
		return nil, goneMail(err)
	}
	return &streamed{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", "message/rfc822")
		hc.SetHeader("Content-Length", strconv.FormatInt(raw.Size, 10))
		// The message is a stranger's text: a browser must not run it.
		hc.SetHeader("Content-Disposition", `attachment; filename="`+in.ID.String()+`.eml"`)
		hc.SetHeader("Content-Security-Policy", "sandbox")
		hc.SetStatus(http.StatusOK)
		if err := s.stream(ctx, w, raw, chunk); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sending a raw message broke off", zap.Stringer("message_id", in.ID), zap.Error(err))
			}
			panic(http.ErrAbortHandler) // the only way to tell the client
		}
	}}, nil
}

// goneMail turns the error for a raw mail past its retention into a 404.
func goneMail(err error) error {
	if errors.Is(err, mailbox.ErrGone) {
		return problem(http.StatusNotFound, "the raw message is gone")
	}
	return err
}

func (s *server) stream(ctx context.Context, w http.ResponseWriter, raw mailbox.Raw, chunk []byte) error {
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
		if sent += int64(len(chunk)); sent >= raw.Size {
			return nil
		}
		var err error
		if chunk, err = raw.Chunk(ctx, s.pool, sent); err != nil {
			return err
		}
	}
}
