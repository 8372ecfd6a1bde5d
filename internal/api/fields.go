package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// fieldMemory is how many times the size of a message reading a field takes at most: the message, its bodies decoded,
// text made from HTML, and JSON.
const fieldMemory = 6

type fieldPath struct {
	ID    events.MessageID `path:"id"`
	Field string           `path:"field" enum:"from,to,cc,reply_to,sender,resent,subject,message_id_header,in_reply_to,references,text,html,reply_text,reply_html,list,bounce,complaint,calendar,headers,attachments" doc:"The name of the field in the event's data."`
}

func (s *server) fieldRoutes() {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	register(s, tenants.orPortal(), huma.Operation{
		OperationID: "get-message-field", Method: http.MethodGet, Path: "/v1/messages/{id}/fields/{field}", Summary: "Read a field of a message in full",
		Description: "What the event has in that field, without the limits of an event; see `truncated_urls` there. Strings are text/plain in UTF-8, HTML included; other fields are JSON. A field that the message does not have is a 404.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The field.",
			Content:     map[string]*huma.MediaType{"text/plain": text, "application/json": {Schema: &huma.Schema{}}},
		}},
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadGateway},
	}, s.messageField)
}

func (s *server) messageField(ctx context.Context, in *fieldPath) (*streamed, error) {
	reading, cancel := withinReadTime(ctx)
	defer cancel()
	if caller(ctx).Portal() {
		m, err := mailbox.GetMessage(ctx, s.pool, tenant(ctx), in.ID)
		if err == nil {
			err = s.shownEvent(ctx, m.EventID, m.CreatedAt)
		}
		if err != nil {
			return nil, err
		}
	}
	mail, release, err := s.borrow(reading, in.ID, fieldMemory)
	if err != nil {
		return nil, err
	}
	value, err := ingest.ReadField(reading, mail, in.Field, "/v1/messages/"+in.ID.String())
	if err != nil {
		release()
		switch {
		case errors.Is(err, ingest.ErrNoField):
			return nil, problem(http.StatusNotFound, "%v", err)
		case errors.Is(err, ingest.ErrPartOfField):
			return nil, problem(http.StatusUnprocessableEntity, "%v; the raw message has it", err)
		}
		return nil, err
	}
	if text, ok := value.(string); ok {
		return s.sendFile(ctx, in.ID, []byte(text), "text/plain; charset=utf-8", `attachment; filename="`+in.Field+`.txt"`, release), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		release()
		return nil, fmt.Errorf("encode a field: %w", err)
	}
	return s.sendFile(ctx, in.ID, b.Bytes(), "application/json", `attachment; filename="`+in.Field+`.json"`, release), nil
}

// shownEvent returns a 404 for an event of which a portal link shows no delivery.
func (s *server) shownEvent(ctx context.Context, event events.ID, createdAt time.Time) error {
	if !caller(ctx).Portal() {
		return nil
	}
	rows, err := s.store.EventDeliveries(ctx, tenant(ctx), event, createdAt, maxEventDeliveries)
	if err != nil {
		return err
	}
	_, err = shownDeliveries(ctx, rows)
	return err
}
