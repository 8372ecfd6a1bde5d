package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Where an event type comes from.
const (
	sourceBuiltIn  = "built_in"
	sourceOperator = "operator"
	sourceTenant   = "tenant"
)

// ListedType is an event type in a list. Its name is exported because the document leaves out what is embedded otherwise.
type ListedType struct {
	Name        string     `json:"name" example:"order.created"`
	Source      string     `json:"source" enum:"built_in,operator,tenant" doc:"Who has made it: Fanmail, an operator for all tenants, or the tenant for itself."`
	Description string     `json:"description"`
	Deprecated  bool       `json:"deprecated" doc:"It works as others do. People should stop using it."`
	Validated   bool       `json:"validated" doc:"The data of its events is compared with its schema when they are handed in."`
	HasSample   bool       `json:"has_sample" doc:"A test delivery has data of its own."`
	CreatedAt   *time.Time `json:"created_at" doc:"null for a built-in type."`
	UpdatedAt   *time.Time `json:"updated_at" doc:"null for a built-in type."`
}

// shownType is an event type with its schema and its sample.
type shownType struct {
	ListedType
	Schema json.RawMessage `json:"schema" doc:"The JSON Schema of the data; null for none."`
	Sample json.RawMessage `json:"sample" doc:"The data of a test delivery; null for none."`
}

func listType(t eventtype.Type) ListedType {
	out := ListedType{
		Name: string(t.Name), Source: sourceTenant, Description: t.Description, Deprecated: t.Deprecated, Validated: t.HasSchema, HasSample: t.HasSample,
	}
	if t.TenantID.IsZero() {
		out.Source = sourceOperator
	}
	if t.Name.Known() {
		out.Source, out.Validated = sourceBuiltIn, false
		return out
	}
	out.CreatedAt, out.UpdatedAt = &t.CreatedAt, &t.UpdatedAt
	return out
}

func showType(t eventtype.Type) shownType {
	return shownType{ListedType: listType(t), Schema: t.Schema, Sample: t.Sample}
}

// typeSettings is the body of POST /v1/event-types.
type typeSettings struct {
	Name        storedText      `json:"name" doc:"Two or more parts with dots between them, of lower-case letters, digits, _ and -; at most 100 bytes. The first part must not be one of the catalogue's, such as email." example:"order.created"`
	Description storedText      `json:"description,omitempty" doc:"At most 500 bytes, on one line."`
	Schema      json.RawMessage `json:"schema,omitempty" doc:"A JSON Schema of draft 2020-12, at most 64 KiB, which refers to nothing outside. Data that does not fit is refused when an event is handed in by POST /v1/events or the intake subject. A schema that refers to itself is refused."`
	Sample      json.RawMessage `json:"sample,omitempty" doc:"A JSON object, at most 64 KiB, that fits the schema: the data of a test delivery."`
	Deprecated  bool            `json:"deprecated,omitempty"`
}

// typeChange is the body of PATCH /v1/event-types/{name}. Absent fields stay as they are.
type typeChange struct {
	Description optional[storedText] `json:"description,omitempty"`
	Schema      json.RawMessage      `json:"schema,omitempty" doc:"null: none. The sample must fit it. It counts for events that are handed in from now on."`
	Sample      json.RawMessage      `json:"sample,omitempty" doc:"null: none."`
	Deprecated  optional[bool]       `json:"deprecated,omitempty"`
}

func (c *typeChange) apply(t *eventtype.Type) error {
	description, err := c.Description.required("body.description")
	if err != nil {
		return err
	}
	deprecated, err := c.Deprecated.required("body.deprecated")
	if err != nil {
		return err
	}
	if description != nil {
		t.Description = string(*description)
	}
	if deprecated != nil {
		t.Deprecated = *deprecated
	}
	if c.Schema != nil {
		t.Schema = c.Schema
	}
	if c.Sample != nil {
		t.Sample = c.Sample
	}
	return nil
}

// TypePath has the name of an event type.
type TypePath struct {
	Name storedText `path:"name" maxLength:"102"`
}

type typeQuery struct {
	TypePath
	TenantID events.TenantID `query:"tenant_id" doc:"For operators: what this tenant sees. Absent: what every tenant sees."`
}

type typesQuery struct {
	Paging
	TenantID events.TenantID `query:"tenant_id" doc:"For operators: what this tenant sees. Absent: what every tenant sees."`
	Source   string          `query:"source" enum:"built_in,operator,tenant" doc:"Only those of this source."`
}

func (s *server) eventTypeRoutes() {
	register(s, anybody, huma.Operation{
		OperationID: "create-event-type", Method: http.MethodPost, Path: "/v1/event-types", DefaultStatus: http.StatusCreated,
		Summary: "Create an event type",
		Description: fmt.Sprintf("A tenant's key makes a type of the tenant's own, which others don't see. An operator's key makes one for all tenants. "+
			"A name that is taken is a 409, and so is one type above %d. A tenant that has a type of the name already keeps it when an operator makes one: its own counts for it.", eventtype.MaxTypes),
	}, s.createEventType)
	register(s, anybody, huma.Operation{
		OperationID: "list-event-types", Method: http.MethodGet, Path: "/v1/event-types", Summary: "List event types, sorted by name",
		Description: "The built-in types, the operator's and the tenant's own. Schemas and samples are left out; read one type for them.",
	}, s.listEventTypes)
	register(s, anybody, huma.Operation{
		OperationID: "get-event-type", Method: http.MethodGet, Path: "/v1/event-types/{name}", Summary: "Read an event type",
	}, s.getEventType)
	register(s, anybody, huma.Operation{
		OperationID: "change-event-type", Method: http.MethodPatch, Path: "/v1/event-types/{name}", Summary: "Change an event type",
		Description: "A built-in type can't be changed, nor the operator's with a tenant's key: 403.",
	}, s.changeEventType)
	register(s, anybody, huma.Operation{
		OperationID: "delete-event-type", Method: http.MethodDelete, Path: "/v1/event-types/{name}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete an event type",
		Description: "Further events of the type are refused. Those that were accepted are delivered, and stay in the log. " +
			"It is a 409, which names the webhooks, while webhooks name the type; patterns that select it don't count. A built-in type can't be deleted, nor the operator's with a tenant's key: 403.",
	}, s.deleteEventType)
}

// typesOf returns whose types a request reads; zero for the operator's.
func typesOf(ctx context.Context, named events.TenantID) (events.TenantID, error) {
	me := caller(ctx)
	if !me.Operator() && !named.IsZero() && named != me.TenantID {
		return named, subscribers.ErrNotFound
	}
	if me.Operator() {
		return named, nil
	}
	return me.TenantID, nil
}

func (s *server) createEventType(ctx context.Context, in *struct{ Body typeSettings }) (*body[shownType], error) {
	b := &in.Body
	t := eventtype.Type{
		TenantID: tenant(ctx), Name: events.Type(b.Name), Description: string(b.Description), Schema: b.Schema, Sample: b.Sample, Deprecated: b.Deprecated,
	}
	if t.Name.Known() {
		return nil, taken("is built in")
	}
	verified, err := s.verified(ctx, t)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, func(u *unit) (err error) {
		t, err = eventschema.Define(ctx, u, verified)
		if err == nil {
			u.became(showType(t))
		}
		return err
	})
	var limit *eventtype.LimitError
	switch {
	case errors.Is(err, eventtype.ErrExists):
		return nil, taken("is taken")
	case errors.As(err, &limit):
		s.metrics.overQuota.WithLabelValues("event_types").Inc()
		return nil, problem(http.StatusConflict, "%s", err)
	case err != nil:
		return nil, err
	}
	return reply(showType(t)), nil
}

// verified checks a type outside of a transaction: a sample may take long to compare with its schema.
func (s *server) verified(ctx context.Context, t eventtype.Type) (eventschema.Verified, error) {
	v, err := s.types.Verify(ctx, t)
	return v, s.comparing(err)
}

// comparing turns [eventschema.ErrBusy] into a 429.
func (s *server) comparing(err error) error {
	if errors.Is(err, eventschema.ErrBusy) {
		s.metrics.overQuota.WithLabelValues("comparisons").Inc()
		return huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, "%s; try again", err), http.Header{"Retry-After": {"1"}})
	}
	return err
}

// taken is the error of a name that another type has.
func taken(reason string) error {
	return huma.Error409Conflict("body.name: "+reason, &huma.ErrorDetail{Location: "body.name", Message: reason})
}

func (s *server) listEventTypes(ctx context.Context, in *typesQuery) (*body[list[ListedType]], error) {
	of, err := typesOf(ctx, in.TenantID)
	if err != nil {
		return nil, err
	}
	return namedPage(&in.Paging, func(t ListedType) string { return t.Name }, listType, func(after string, limit int) ([]eventtype.Type, bool, error) {
		var all []eventtype.Type
		if in.Source != sourceBuiltIn {
			if all, err = eventtype.List(ctx, s.pool, of, after, limit, eventtype.Which{Own: in.Source != sourceOperator, Operator: in.Source != sourceTenant}); err != nil {
				return nil, false, err
			}
		}
		if in.Source == "" || in.Source == sourceBuiltIn {
			all = append(all, eventschema.BuiltIn(after)...)
		}
		slices.SortFunc(all, func(a, b eventtype.Type) int { return strings.Compare(string(a.Name), string(b.Name)) })
		return all[:min(len(all), limit)], false, nil
	})
}

func (s *server) getEventType(ctx context.Context, in *typeQuery) (*body[shownType], error) {
	of, err := typesOf(ctx, in.TenantID)
	if err != nil {
		return nil, err
	}
	name := events.Type(in.Name)
	if name.Known() {
		t, err := eventschema.ReadBuiltIn(name)
		if err != nil {
			return nil, err
		}
		return reply(showType(t)), nil
	}
	t, err := eventtype.Get(ctx, s.pool, of, name)
	if err != nil {
		return nil, typeFault(err)
	}
	return reply(showType(t)), nil
}

// lockType reads a type that the caller may change.
func lockType(ctx context.Context, tx pgx.Tx, name events.Type) (eventtype.Type, error) {
	if name.Known() {
		return eventtype.Type{}, problem(http.StatusForbidden, "%s is built in; it can't be changed or deleted", name)
	}
	t, err := eventtype.Lock(ctx, tx, tenant(ctx), name)
	if errors.Is(err, eventtype.ErrNotFound) && !tenant(ctx).IsZero() {
		if _, err = eventtype.Get(ctx, tx, tenant(ctx), name); err == nil {
			return t, problem(http.StatusForbidden, "%s is a type of the operator's; only an operator's key may change or delete it", name)
		}
	}
	return t, typeFault(err)
}

func typeFault(err error) error {
	if errors.Is(err, eventtype.ErrNotFound) {
		return subscribers.ErrNotFound
	}
	return err
}

func (s *server) changeEventType(ctx context.Context, in *struct {
	TypePath
	Body typeChange
},
) (*body[shownType], error) {
	var was, t eventtype.Type
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		was, err = lockType(ctx, tx, events.Type(in.Name))
		return err
	})
	if err != nil {
		return nil, err
	}
	t = was
	if err := in.Body.apply(&t); err != nil {
		return nil, err
	}
	verified, err := s.verified(ctx, t)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, func(u *unit) error {
		now, err := lockType(ctx, u, events.Type(in.Name))
		if err != nil {
			return err
		}
		if !now.UpdatedAt.Equal(was.UpdatedAt) {
			return problem(http.StatusConflict, "another request has changed %s meanwhile; try again", in.Name)
		}
		u.was(showType(now))
		t, err = eventschema.Redefine(ctx, u, verified)
		if err == nil {
			u.became(showType(t))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(showType(t)), nil
}

func (s *server) deleteEventType(ctx context.Context, in *TypePath) (*struct{}, error) {
	err := s.change(ctx, func(u *unit) error {
		t, err := lockType(ctx, u, events.Type(in.Name))
		if err != nil {
			return err
		}
		u.was(showType(t))
		return s.store.In(u).DeleteEventType(ctx, t.TenantID, t.Name)
	})
	if used, ok := errors.AsType[*subscribers.TypeInUseError](err); ok {
		return nil, problem(http.StatusConflict, "%s", used)
	}
	return nil, err
}
