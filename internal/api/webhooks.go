package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// filters select a webhook's events. An absent or empty key selects all.
type filters struct {
	AgentIDs        []storedText `json:"agent_ids,omitempty" doc:"Addresses of agents of this tenant."`
	ConversationIDs []storedText `json:"conversation_ids,omitempty"`
	Labels          []storedText `json:"labels,omitempty"`
	Data            dataFilter   `json:"data,omitempty" doc:"Conditions on the event's data, by path; all must be met. A path has dots between keys, and a list in it stands for each of its elements. A text, a number, true or false is met by an equal value; the operators are in, prefix, gt, gte, lt, lte and exists."`
	AgentEmails     []storedText `json:"agent_emails,omitempty" doc:"Another name of agent_ids, for requests; answers have agent_ids. Where both are given, both count."`
}

func (f *filters) settings() subscribers.Filters {
	agents := texts(slices.Concat(f.AgentIDs, f.AgentEmails))
	return subscribers.Filters{AgentIDs: agents, ConversationIDs: texts(f.ConversationIDs), Labels: texts(f.Labels), Data: json.RawMessage(f.Data)}
}

// dataFilter is a filter on data, as JSON.
type dataFilter json.RawMessage

// MarshalJSON returns the JSON.
func (d dataFilter) MarshalJSON() ([]byte, error) { return json.RawMessage(d).MarshalJSON() }

// UnmarshalJSON keeps the JSON.
func (d *dataFilter) UnmarshalJSON(b []byte) error {
	*d = append((*d)[:0], b...)
	return nil
}

// Schema allows any value for a path: package subscribers says better than a schema what is wrong with one.
func (dataFilter) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Examples: []any{map[string]any{"kind": "order", "amount": map[string]any{"gte": 10}, "to.address": map[string]any{"prefix": "sales@"}}},
	}
}

// Webhook is a subscriber, without its secrets.
type Webhook struct {
	ID              events.WebhookID `json:"id" example:"wh_0123456789abcdef0123456789abcdef"`
	Kind            string           `json:"kind" enum:"push,pull,nats" doc:"push: Fanmail POSTs deliveries to the url. pull: consumers poll them. nats: Fanmail publishes them at a NATS broker."`
	URL             string           `json:"url" doc:"Empty if kind is pull."`
	Subject         *string          `json:"subject" doc:"Where messages are published; null unless kind is nats."`
	Description     string           `json:"description"`
	Events          []eventPattern   `json:"events"`
	Filters         filters          `json:"filters"`
	Enabled         bool             `json:"enabled"`
	MaxInFlight     int              `json:"max_in_flight" doc:"The upper limit of attempts in flight, across all dispatchers."`
	RateLimit       *int             `json:"rate_limit" doc:"The maximum number of attempts a second; null: no limit."`
	Ordering        string           `json:"ordering" enum:"none,strict"`
	CreatedAt       time.Time        `json:"created_at"`
	LastDeliveredAt *time.Time       `json:"last_delivered_at"`
	LastPolledAt    *time.Time       `json:"last_polled_at" doc:"Exact to some seconds; null: it was not polled yet, or its kind is push."`
	Paused          bool             `json:"paused" doc:"Its events are fanned out, and their deliveries wait until it is resumed."`
	PausedAt        *time.Time       `json:"paused_at" doc:"null: it is not paused."`
	DisabledAt      *time.Time       `json:"disabled_at" doc:"Since when it misses events; null while it is enabled, and where that is not known."`
	AutoDisabledAt  *time.Time       `json:"auto_disabled_at"`
	DisabledReason  *string          `json:"disabled_reason"`
	Gateway
}

func showWebhook(w subscribers.Webhook) Webhook {
	out := Webhook{
		ID: w.ID, Kind: string(w.Kind), URL: w.URL, Subject: text(w.Subject), Description: w.Description, Events: showPatterns(w.Events),
		Filters: filters{AgentIDs: storedTexts(w.Filters.AgentIDs), ConversationIDs: storedTexts(w.Filters.ConversationIDs), Labels: storedTexts(w.Filters.Labels), Data: dataFilter(w.Filters.Data)},
		Enabled: w.Enabled, MaxInFlight: w.MaxInFlight, Ordering: string(w.Ordering), CreatedAt: w.CreatedAt,
		LastDeliveredAt: w.LastDeliveredAt, LastPolledAt: w.LastPolledAt, Paused: w.Paused, PausedAt: w.PausedAt, DisabledAt: w.DisabledAt, AutoDisabledAt: w.AutoDisabledAt, Gateway: showGateway(&w),
	}
	if w.RateLimit > 0 {
		out.RateLimit = &w.RateLimit
	}
	if w.DisabledReason != "" {
		out.DisabledReason = &w.DisabledReason
	}
	return out
}

// newWebhook is a webhook in the only response that shows its secret.
type newWebhook struct {
	Webhook
	SigningSecret string `json:"signing_secret,omitempty" doc:"Shown only here. Absent if kind is pull."`
}

// changedWebhook is the response to a change.
type changedWebhook struct {
	Webhook
	Missed *missedEvents `json:"missed,omitempty" doc:"The events that the webhook has missed while it was disabled; present if this change has enabled it, its time of disabling is known, and it missed some."`
}

// missedEvents are the events that a webhook has missed, and the replay that sends them.
type missedEvents struct {
	Deliveries int          `json:"deliveries" doc:"The deliveries that the replay would create: at least so many if complete is false."`
	Complete   bool         `json:"complete" doc:"False if there were more events than one preview reads."`
	Replay     missedReplay `json:"replay" doc:"The body of a POST /v1/replays that sends them."`
}

type missedReplay struct {
	Since     time.Time        `json:"since"`
	Until     time.Time        `json:"until"`
	WebhookID events.WebhookID `json:"webhook_id"`
	Mode      string           `json:"mode" enum:"missed"`
}

// webhookSettings is the body of POST /v1/webhooks.
type webhookSettings struct {
	Kind        string         `json:"kind,omitempty" enum:"push,pull,nats" default:"push" doc:"push: Fanmail POSTs deliveries to the url. pull: consumers poll them; the settings of POSTs, from url to timeout, are refused. nats: Fanmail publishes them on the subject of a NATS broker, and JetStream's acknowledgement is the success. It can't be changed."`
	URL         storedText     `json:"url,omitempty" doc:"Required unless kind is pull. tls://host:port if kind is nats. At most 2048 bytes. It is stored, shown and used in a normal form: trimmed, the host in lower-case ASCII, characters escaped that a URL can't hold."`
	Subject     storedText     `json:"subject,omitempty" doc:"Required if kind is nats: where messages are published, at most 255 printable ASCII characters without wildcards. A stream of the broker must store it."`
	Events      []eventPattern `json:"events" minItems:"1"`
	Filters     filters        `json:"filters,omitempty" doc:"An event must match each key that is given; one matching value of a key is enough, but for data, of which all conditions must be met."`
	Description storedText     `json:"description,omitempty" doc:"At most 200 bytes, on one line."`
	MaxInFlight int            `json:"max_in_flight,omitempty" minimum:"1" maximum:"4096" doc:"An upper limit: below it, the number of attempts in flight follows what the endpoint can take. Absent: 1024, unless the server has another default."`
	RateLimit   int            `json:"rate_limit,omitempty" minimum:"1" maximum:"10000" doc:"The maximum number of attempts a second; absent: no limit."`
	Ordering    string         `json:"ordering,omitempty" enum:"none,strict" default:"none"`
	Enabled     *bool          `json:"enabled,omitempty" doc:"Defaults to true."`
	Paused      bool           `json:"paused,omitempty" doc:"Create it paused: its deliveries wait until it is resumed."`
	GatewaySettings
	SigningSecret secretText `json:"signing_secret,omitempty"`
}

// webhookChange is the body of PATCH /v1/webhooks/{id}. Absent fields stay as
// they are.
type webhookChange struct {
	Kind        optional[string]         `json:"kind,omitempty" enum:"push,pull,nats" doc:"Another value than the present one is refused."`
	URL         optional[storedText]     `json:"url,omitempty"`
	Subject     optional[storedText]     `json:"subject,omitempty" doc:"If kind is nats."`
	Events      optional[[]eventPattern] `json:"events,omitempty" minItems:"1"`
	Filters     optional[filters]        `json:"filters,omitempty" nullable:"true" doc:"Replaces all filters. null: none."`
	Description optional[storedText]     `json:"description,omitempty" nullable:"true" doc:"null: none."`
	MaxInFlight optional[int]            `json:"max_in_flight,omitempty" minimum:"1" maximum:"4096" nullable:"true" doc:"null: the server's default."`
	RateLimit   optional[int]            `json:"rate_limit,omitempty" minimum:"1" maximum:"10000" nullable:"true" doc:"null: no limit."`
	Ordering    optional[string]         `json:"ordering,omitempty" enum:"none,strict" nullable:"true" doc:"null: none."`
	Enabled     optional[bool]           `json:"enabled,omitempty"`
	Paused      optional[bool]           `json:"paused,omitempty" nullable:"true" doc:"true: events are fanned out, and their deliveries wait. false or null: they flow."`
	GatewayChange
}

func (c *webhookChange) patch() (p subscribers.Patch, err error) {
	url, err := c.URL.required("body.url")
	if err != nil {
		return p, err
	}
	p.URL, p.Description = (*string)(url), (*string)(c.Description.orZero())
	subject, err := c.Subject.required("body.subject")
	if err != nil {
		return p, err
	}
	p.Subject = (*string)(subject)
	kind, err := c.Kind.required("body.kind")
	if err != nil {
		return p, err
	}
	p.Kind = (*subscribers.Kind)(kind)
	if p.Enabled, err = c.Enabled.required("body.enabled"); err != nil {
		return p, err
	}
	types, err := c.Events.required("body.events")
	if err != nil {
		return p, err
	}
	if types != nil {
		list := eventPatterns(*types)
		p.Events = &list
	}
	if f := c.Filters.orZero(); f != nil {
		settings := f.settings()
		p.Filters = &settings
	}
	if p.Ordering = (*subscribers.Ordering)(c.Ordering.orZero()); p.Ordering != nil && *p.Ordering == "" {
		*p.Ordering = subscribers.OrderingNone
	}
	p.Paused, p.MaxInFlight, p.RateLimit = c.Paused.orZero(), c.MaxInFlight.orZero(), c.RateLimit.orZero()
	return p, c.GatewayChange.apply(&p)
}

type webhookPath struct {
	ID events.WebhookID `path:"id"`
}

// webhookTest is the input of a test delivery. The body may be absent.
type webhookTest struct {
	ID   events.WebhookID `path:"id"`
	Body *struct {
		Type eventType       `json:"type,omitempty" doc:"A type that the webhook takes. Without it, the webhook's first."`
		Data json.RawMessage `json:"data,omitempty" doc:"The envelope's data. Without it, the sample of the type."`
	} `nameHint:"WebhookTest"`
}

// rotation is the input of a rotation. The body may be absent.
type rotation struct {
	ID   events.WebhookID `path:"id"`
	Body *struct {
		SigningSecret secretText `json:"signing_secret,omitempty"`
	}
}

// rotated is the response to a rotation of the signing secret.
type rotated struct {
	SigningSecret string    `json:"signing_secret" doc:"Shown only here."`
	PreviousUntil time.Time `json:"previous_secret_expires_at" doc:"Until this time, requests are signed with the previous secret too. Secrets of earlier rotations sign until their own times."`
}

func (s *server) webhookRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "create-webhook", Method: http.MethodPost, Path: "/v1/webhooks", DefaultStatus: http.StatusCreated,
		Summary: "Create a webhook", Description: "The number of webhooks of a tenant is limited; one above the limit is a 409.",
	}, s.createWebhook)
	register(s, tenants, huma.Operation{
		OperationID: "list-webhooks", Method: http.MethodGet, Path: "/v1/webhooks", Summary: "List webhooks",
	}, s.listWebhooks)
	register(s, tenants.orPortal(), huma.Operation{
		OperationID: "get-webhook", Method: http.MethodGet, Path: "/v1/webhooks/{id}", Summary: "Read a webhook",
	}, s.getWebhook)
	register(s, tenants, huma.Operation{
		OperationID: "change-webhook", Method: http.MethodPatch, Path: "/v1/webhooks/{id}", Summary: "Change a webhook",
		Description: fmt.Sprintf("A disabled webhook misses events; a paused one gets them when it is resumed, in order where its ordering is strict. "+
			"Where this enables a webhook that missed some, `missed` counts them and has the replay that sends them. After Fanmail has disabled a webhook automatically, enabling it is a 409 for %.0f minutes. "+
			"A `url` of another scheme, host or port needs headers, password, client secret and credentials anew or cleared; so does the client secret for another `token_url`.",
			subscribers.ReenableCooldown.Minutes()),
	}, s.changeWebhook)
	register(s, tenants, huma.Operation{
		OperationID: "delete-webhook", Method: http.MethodDelete, Path: "/v1/webhooks/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a webhook", Description: "Its pending deliveries end as failed. The outcome of an attempt that is in flight is recorded; deliveries that an attempt may hold end within 5 minutes.",
	}, s.deleteWebhook)
	register(s, tenants, huma.Operation{
		OperationID: "rotate-webhook-secret", Method: http.MethodPost, Path: "/v1/webhooks/{id}/rotate-secret",
		Summary:     "Give a webhook a new signing secret",
		Description: fmt.Sprintf("For %.0f hours, requests are signed with the previous secret too. A webhook of kind pull has no secret: 409.", subscribers.RotationGrace.Hours()),
	}, s.rotateWebhookSecret)
	register(s, tenants, huma.Operation{
		OperationID: "get-webhook-lane", Method: http.MethodGet, Path: "/v1/webhooks/{id}/lane",
		Summary: "Read the state of a webhook's lane and its backlog",
		Description: "A lane is the queue of one webhook's deliveries in the dispatcher that owns the webhook's partition. " +
			"If no owner answers, the response is a 503.",
	}, s.getWebhookLane)
	register(s, tenants, huma.Operation{
		OperationID: "test-webhook", Method: http.MethodPost, Path: "/v1/webhooks/{id}/test", DefaultStatus: http.StatusAccepted,
		Summary: "Send a test delivery to a webhook", Description: "Sends an event of `type`, with `data` or the type's sample and `\"test\": true`; without both, a short notice. The webhook's filters do not apply, and replays leave the event out. A disabled or a paused webhook is a 409. A test counts as an event of the quota `events_per_day`; one above it is a 429.",
	}, s.testWebhook)
}

func (s *server) createWebhook(ctx context.Context, in *struct{ Body webhookSettings }) (*body[newWebhook], error) {
	b := &in.Body
	w := subscribers.Webhook{
		Kind: subscribers.Kind(b.Kind), URL: string(b.URL), Subject: string(b.Subject), Description: string(b.Description), Events: eventPatterns(b.Events), Filters: b.Filters.settings(),
		Enabled: b.Enabled == nil || *b.Enabled, MaxInFlight: b.MaxInFlight, RateLimit: b.RateLimit, Ordering: subscribers.Ordering(b.Ordering),
		SigningSecret: string(b.SigningSecret), Paused: b.Paused,
	}
	if err := b.apply(&w); err != nil {
		return nil, err
	}
	var out newWebhook
	err := s.change(ctx, func(u *unit) error {
		limits := s.limits
		limits.WebhooksPerTenant = int(s.quotaOf(ctx).Webhooks)
		made, secret, err := subscribers.NewStore(s.pool, limits).WithKeyring(s.secrets).In(u).Create(ctx, tenant(ctx), w)
		out = newWebhook{Webhook: showWebhook(made), SigningSecret: secret}
		u.became(out.Webhook)
		u.then(s.wakeWebhooks)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}

func (s *server) listWebhooks(ctx context.Context, in *struct{ Paging }) (*body[list[Webhook]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, more, err := s.store.ListPage(ctx, tenant(ctx), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(w subscribers.Webhook) (time.Time, [16]byte) { return w.CreatedAt, w.ID }
	return boundedPage(&in.Paging, found, more, place, showWebhook), nil
}

func (s *server) getWebhook(ctx context.Context, in *webhookPath) (*body[Webhook], error) {
	if err := shown(ctx, in.ID); err != nil {
		return nil, err
	}
	w, err := s.store.Get(ctx, tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	if caller(ctx).Portal() {
		return reply(portalWebhook(showWebhook(w))), nil
	}
	return reply(showWebhook(w)), nil
}

func (s *server) changeWebhook(ctx context.Context, in *struct {
	ID   events.WebhookID `path:"id"`
	Body webhookChange
},
) (*body[changedWebhook], error) {
	p, err := in.Body.patch()
	if err != nil {
		return nil, err
	}
	var w subscribers.Webhook
	err = s.change(ctx, func(u *unit) (err error) {
		u.then(s.wakeWebhooks)
		if p.Enabled != nil && *p.Enabled || p.Paused != nil && !*p.Paused {
			u.then(func() { s.wakeLane(in.ID) })
		}
		before, err := s.store.In(u).Get(ctx, tenant(ctx), in.ID)
		if err != nil {
			return err
		}
		w, err = s.store.In(u).Update(ctx, tenant(ctx), in.ID, p)
		u.was(showWebhook(before))
		u.became(showWebhook(w))
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(changedWebhook{Webhook: showWebhook(w), Missed: s.missed(ctx, &w)}), nil
}

// missed counts what a webhook that a change has enabled missed before. The change has
// succeeded, so that without a count the response has none.
func (s *server) missed(ctx context.Context, w *subscribers.Webhook) *missedEvents {
	if w.MissedSince == nil {
		return nil
	}
	q := replay.Request{Since: *w.MissedSince, WebhookID: w.ID, Mode: replay.Missed}
	p, err := s.preview(ctx, q)
	if err != nil {
		s.log.Warn("the events that a webhook missed can't be counted", zap.Stringer("webhook", w.ID), zap.Error(err))
		return nil
	}
	if p.Deliveries == 0 && p.Complete {
		return nil
	}
	return &missedEvents{
		Deliveries: p.Deliveries, Complete: p.Complete,
		Replay: missedReplay{Since: p.Since, Until: p.Until, WebhookID: w.ID, Mode: string(replay.Missed)},
	}
}

func (s *server) deleteWebhook(ctx context.Context, in *webhookPath) (*struct{}, error) {
	return nil, s.change(ctx, func(u *unit) error {
		u.then(s.wakeWebhooks)
		before, err := s.store.In(u).Get(ctx, tenant(ctx), in.ID)
		if err != nil {
			return err
		}
		u.was(showWebhook(before))
		return s.store.In(u).Delete(ctx, tenant(ctx), in.ID)
	})
}

func (s *server) rotateWebhookSecret(ctx context.Context, in *rotation) (*body[rotated], error) {
	var out rotated
	brought := ""
	if in.Body != nil {
		brought = string(in.Body.SigningSecret)
	}
	err := s.change(ctx, func(u *unit) (err error) {
		u.then(s.wakeWebhooks)
		before, err := s.store.In(u).Get(ctx, tenant(ctx), in.ID)
		if err != nil {
			return err
		}
		u.was(showWebhook(before))
		if out.SigningSecret, out.PreviousUntil, err = s.store.In(u).Rotate(ctx, tenant(ctx), in.ID, brought); err != nil {
			return err
		}
		after, err := s.store.In(u).Get(ctx, tenant(ctx), in.ID)
		u.became(showWebhook(after))
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}

func (s *server) getWebhookLane(ctx context.Context, in *webhookPath) (*body[subscribers.LaneState], error) {
	lane, err := s.store.Lane(ctx, s.nc, tenant(ctx), in.ID)
	if errors.Is(err, subscribers.ErrNoLaneOwner) {
		return nil, problem(http.StatusServiceUnavailable, "%s; try again after a few seconds", subscribers.ErrNoLaneOwner)
	}
	if err != nil {
		return nil, err
	}
	return reply(lane), nil
}

func (s *server) testWebhook(ctx context.Context, in *webhookTest) (*body[Delivery], error) {
	var d subscribers.DeliveryRow
	var test subscribers.TestEvent
	if in.Body != nil {
		test = subscribers.TestEvent{Type: events.Type(in.Body.Type), Data: in.Body.Data}
	}
	one := usage.Amount{Events: 1}
	err := s.spend(ctx, one, func(u *unit) (_ usage.Amount, err error) {
		u.then(func() { s.wakeLane(in.ID) })
		d, err = s.store.In(u).InsertTest(ctx, tenant(ctx), in.ID, test)
		return one, err
	})
	if err != nil {
		return nil, err
	}
	return reply(showDelivery(d)), nil
}

// portalWebhook is what a portal link shows of a webhook: neither its filters, which name
// agents, nor how the tenant's own servers authenticate.
func portalWebhook(w Webhook) Webhook {
	return Webhook{
		ID: w.ID, Kind: w.Kind, URL: w.URL, Description: w.Description, Events: w.Events, Enabled: w.Enabled, MaxInFlight: w.MaxInFlight, RateLimit: w.RateLimit,
		Ordering: w.Ordering, CreatedAt: w.CreatedAt, LastDeliveredAt: w.LastDeliveredAt, LastPolledAt: w.LastPolledAt, AutoDisabledAt: w.AutoDisabledAt,
		DisabledReason: w.DisabledReason,
	}
}
