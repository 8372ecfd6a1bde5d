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
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// message is a mail that an agent received.
type message struct {
	ID        events.MessageID `json:"id" example:"msg_0123456789abcdef0123456789abcdef"`
	AgentID   string           `json:"agent_id"`
	EventID   events.ID        `json:"event_id"`
	CreatedAt time.Time        `json:"created_at"`
	Size      int64            `json:"size" doc:"The size of the raw message, in bytes."`
	RawURL    string           `json:"raw_url"`
	Message   json.RawMessage  `json:"message" doc:"The parsed message: the data of its event. It is null if the event is gone, or if its envelope has another form."`
	Delivery  *AgentDelivery   `json:"delivery,omitempty" doc:"The delivery to the agent's own webhook; absent if there was none, or if it is over three days old."`
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
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusBadGateway},
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
	if m.Delivery, err = s.deliveryOfMessage(ctx, in.ID); err != nil {
		return nil, err
	}
	return reply(m), nil
}

func (s *server) rawMessage(ctx context.Context, in *messagePath) (*streamed, error) {
	m, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err // no rows: 404
	}
	// Read before the status is written, so that an unavailable database or blob store
	// is a 503 instead of a truncated response.
	raw, err := m.Raw.Open(ctx, s.pool, s.blobs)
	if err != nil {
		return nil, s.unreadable(err)
	}
	return &streamed{Body: func(hc huma.Context) {
		defer raw.Close()
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", "message/rfc822")
		hc.SetHeader("Content-Length", strconv.FormatInt(m.Raw.Size, 10))
		// The message is a stranger's text: a browser must not run it.
		hc.SetHeader("Content-Disposition", `attachment; filename="`+in.ID.String()+`.eml"`)
		hc.SetHeader("Content-Security-Policy", "sandbox")
		hc.SetStatus(http.StatusOK)
		if err := s.stream(ctx, w, raw); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sending a raw message broke off", zap.Stringer("message_id", in.ID), zap.Error(err))
			}
			panic(http.ErrAbortHandler) // the only way to tell the client
		}
	}}, nil
}

// unreadable turns the error for a raw mail that can't be read into an answer, and logs it
// if an operator must act.
func (s *server) unreadable(err error) error {
	lost, isLost := errors.AsType[*mailbox.BlobError](err)
	switch {
	case errors.Is(err, mailbox.ErrGone):
		return problem(http.StatusNotFound, "the raw message is gone")
	case isLost:
		s.log.Error("a raw message is lost", zap.Error(err))
		return problem(http.StatusBadGateway, "%v", lost)
	case errors.Is(err, mailbox.ErrNoBlobs), blobs.KindOf(err) != "":
		s.log.Warn("a raw message can't be read now", zap.Error(err))
		return problem(http.StatusServiceUnavailable, "the raw message is in the blob store, which can't be read now; try again later")
	}
	return err
}

// stream sends the raw mail.
func (s *server) stream(ctx context.Context, w http.ResponseWriter, raw *mailbox.RawReader) error {
	for {
		chunk, err := raw.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(chunk); err != nil {
			return fmt.Errorf("send a raw message: %w", err)
		}
	}
}
