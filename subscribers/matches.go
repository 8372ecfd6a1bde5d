package subscribers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/datafilter"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The reasons why an event was not fanned out to a webhook.
const (
	ReasonWaiting      = "waiting"           // it is not fanned out yet
	ReasonLater        = "created_later"     // the webhook was created after the event
	ReasonDisabled     = "disabled"          // the webhook was disabled
	ReasonDeleted      = "deleted"           // the webhook is deleted, and with it what it asked for
	ReasonType         = "type"              // it does not ask for the type
	ReasonAgent        = filterAgents        // its filter on agents
	ReasonConversation = filterConversations // its filter on conversations
	ReasonLabel        = filterLabels        // its filter on labels
	ReasonData         = filterData          // its filter on data
	ReasonChanged      = "settings_changed"  // its present settings ask for the event; they have changed since
	ReasonTest         = "test"              // the event is a test of one webhook
	ReasonUnknown      = "unknown"           // nothing that is known keeps the event from it
)

// Reasons lists them.
func Reasons() []string {
	return []string{
		ReasonWaiting, ReasonLater, ReasonDisabled, ReasonDeleted, ReasonType, ReasonAgent, ReasonConversation, ReasonLabel, ReasonData,
		ReasonChanged, ReasonTest, ReasonUnknown,
	}
}

// Match says whether an event was fanned out to a webhook, and why not.
type Match struct {
	WebhookID events.WebhookID
	URL       string
	DeletedAt *time.Time
	// Delivery is the delivery that the fan-out made; nil if there is none.
	Delivery *DeliveryRow
	// Reason is one of [Reasons]; "" with a delivery.
	Reason string
	// Condition is the first condition that the event does not meet, as JSON, if the reason is [ReasonData]; else "".
	Condition string
	// Certain is true if the reason held when the event was fanned out. Otherwise it is a conclusion from the webhook's
	// present settings, which have changed since ChangedAt.
	Certain   bool
	ChangedAt *time.Time
	// Wanted reports whether the present settings ask for the event.
	Wanted bool
}

// OfTest reports whether deliveries are those of a test of one webhook.
func OfTest(list []DeliveryRow) bool {
	return slices.ContainsFunc(list, func(d DeliveryRow) bool { return d.Kind == "test" })
}

// matched is a webhook with the times that tell how it was when an event was fanned out.
type matched struct {
	Webhook
	data                         *datafilter.Filter
	enabledAt                    time.Time
	deletedAt, disabledAt, saved *time.Time
}

const matchColumns = `id, url, events, filter_agent_ids, filter_conversation_ids, filter_labels, filter_data, enabled, created_at, enabled_at, deleted_at, disabled_at, matching_changed_at`

func scanMatched(row pgx.CollectableRow) (w matched, err error) {
	err = row.Scan(&w.ID, &w.URL, &w.Events, &w.Filters.AgentIDs, &w.Filters.ConversationIDs, &w.Filters.Labels, &w.Filters.Data,
		&w.Enabled, &w.CreatedAt, &w.enabledAt, &w.deletedAt, &w.disabledAt, &w.saved)
	w.data, _ = storedData(&w.Filters) // one that can't be read refuses all events, as in a registry
	w.CreatedAt = w.CreatedAt.UTC()
	w.deletedAt, w.disabledAt, w.saved = utc(w.deletedAt), utc(w.disabledAt), utc(w.saved)
	return w, err
}

// maxDeleted is the most deleted webhooks that [Store.Matches] tells of.
const maxDeleted = 100

const (
	matchesLive = `SELECT ` + matchColumns + ` FROM fanmail.webhooks
	WHERE tenant_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`
	// Those that were deleted before the event could not get it.
	matchesDeleted = `SELECT ` + matchColumns + ` FROM fanmail.webhooks
	WHERE tenant_id = $1 AND deleted_at >= $2 ORDER BY deleted_at DESC LIMIT $3`
	// A live delivery has the creation time of its event.
	matchesDelivered = `SELECT d.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
		SELECT ` + deliveryColumns + ` FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = w.id AND created_at = $3 AND event_id = $4 AND tenant_id = $1 AND kind = 'live' LIMIT 1) AS d`
)

// Matches returns for up to limit webhooks of the event's tenant whether it was fanned out to them, newest webhook first,
// and the place to continue from; zero at the end. The envelope is the event's. The first page also has webhooks that were deleted since, up to 100.
// waiting says that the event is not fanned out yet, test that it is a test of one webhook.
func (s *Store) Matches(ctx context.Context, ev *events.Record, envelope []byte, waiting, test bool, after Place, limit int) ([]Match, Place, error) {
	at, id := after.Bound()
	list, more, err := s.readMatched(ctx, matchesLive, ev.TenantID, at, id, limit+1)
	if err != nil {
		return nil, Place{}, err
	}
	var end Place
	if more || len(list) > limit {
		list = list[:min(len(list), limit)]
		end = Place{CreatedAt: list[len(list)-1].CreatedAt, ID: list[len(list)-1].ID}
	}
	if after.CreatedAt.IsZero() {
		deleted, _, err := s.readMatched(ctx, matchesDeleted, ev.TenantID, ev.CreatedAt, maxDeleted)
		if err != nil {
			return nil, Place{}, err
		}
		list = append(list, deleted...)
	}
	ids := make([]events.WebhookID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	rows, err := s.db.Query(ctx, matchesDelivered, ev.TenantID, ids, ev.CreatedAt, ev.ID)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list an event's webhooks: %w", err)
	}
	delivered, err := pgx.CollectRows(rows, scanDeliveryRow)
	if err != nil {
		return nil, Place{}, fmt.Errorf("list an event's webhooks: %w", err)
	}
	var all []*datafilter.Filter
	for i := range list {
		all = append(all, list[i].data)
	}
	values := datafilter.NewPlan(all...).Read(envelope)
	out := make([]Match, len(list))
	for i := range list {
		out[i] = list[i].match(ev, values, waiting, test)
		if n := slices.IndexFunc(delivered, func(d DeliveryRow) bool { return d.WebhookID == list[i].ID }); n >= 0 {
			out[i].Delivery, out[i].Reason, out[i].Condition, out[i].Certain, out[i].ChangedAt = &delivered[n], "", "", true, nil
		}
	}
	return out, end, nil
}

func (s *Store) readMatched(ctx context.Context, statement string, args ...any) (list []matched, more bool, err error) {
	rows, err := s.db.Query(ctx, statement, args...)
	if err != nil {
		return nil, false, fmt.Errorf("list an event's webhooks: %w", err)
	}
	if list, more, err = pg.CollectPage(rows, scanMatched); err != nil {
		return nil, false, fmt.Errorf("list an event's webhooks: %w", err)
	}
	return list, more, nil
}

// match explains why an event has no delivery to the webhook.
func (w *matched) match(ev *events.Record, values *datafilter.Values, waiting, test bool) Match {
	m := Match{WebhookID: w.ID, URL: w.URL, DeletedAt: w.deletedAt, Certain: true}
	refused, condition := w.refuses(ev, values)
	m.Wanted = refused == "" && w.Enabled && w.deletedAt == nil
	after := func(t *time.Time) bool { return t != nil && t.After(ev.CreatedAt) }
	changed := func(reason string, at *time.Time) {
		m.Reason, m.ChangedAt, m.Certain = reason, at, false
	}
	switch off := w.disabledAt != nil && !after(w.disabledAt); {
	case waiting:
		m.Reason = ReasonWaiting
	case test:
		m.Reason = ReasonTest
	case w.CreatedAt.After(ev.CreatedAt):
		m.Reason = ReasonLater
	case off && (!w.Enabled || w.enabledAt.After(ev.CreatedAt)):
		m.Reason = ReasonDisabled
	case refused != "" && !after(w.saved):
		m.Reason = refused
	case w.deletedAt != nil:
		changed(ReasonDeleted, w.deletedAt)
	case refused != "":
		changed(refused, w.saved)
	case after(w.saved):
		changed(ReasonChanged, w.saved)
	case after(w.disabledAt):
		changed(ReasonDisabled, w.disabledAt)
	default:
		changed(ReasonUnknown, nil)
	}
	if m.Reason == ReasonData {
		m.Condition = condition
	}
	return m
}

// refuses returns why the webhook's settings do not ask for an event, "" if they do; and the condition of the filter on
// data that the event does not meet.
func (w *matched) refuses(ev *events.Record, values *datafilter.Values) (reason, condition string) {
	if !wants(w.Events, ev.Type) {
		return ReasonType, ""
	}
	if reason := w.Filters.refuses(ev); reason != "" || w.data == nil {
		return reason, ""
	}
	if condition = w.data.Unmet(values); condition != "" {
		return ReasonData, condition
	}
	return "", ""
}
