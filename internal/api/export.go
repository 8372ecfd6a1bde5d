package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// maxExports is how many exports run at the same time in a process, one for each tenant.
	maxExports = 4
	// exportPage is how many names of types, domains, agents or webhooks an export reads at once, within [pg.PageBytes].
	exportPage = 200
	// exportChunk is how many bytes an export gathers before it sends them.
	exportChunk = 64 << 10
)

type exportQuery struct {
	TenantID events.TenantID `query:"tenant_id" doc:"For operators: the tenant."`
	What     string          `query:"what" enum:"all,configuration" default:"all" doc:"configuration: without events and messages."`
	Since    instant         `query:"since" doc:"Events created at this time or later; absent: all that are kept."`
	Until    instant         `query:"until" doc:"Events created before this time; absent: before the export began."`
}

func (s *server) exportRoutes() {
	register(s, anybody.needs(tenancy.Administer).audited(), huma.Operation{
		OperationID: "export-tenant", Method: http.MethodGet, Path: "/v1/export", Summary: "Export a tenant",
		Description: "JSON Lines: a line that names format and version, a line for each object (`kind` and `data`), and a line of the kind `end` with counts. " +
			"Without that last line the export is not whole. Objects are as the API shows them, so that no line has a secret. An event's `envelope` is a text, byte for byte the body of the POST. " +
			"Keys, deliveries and raw mails are not exported. " +
			fmt.Sprintf("One export of a tenant runs at a time, and %d of all tenants in a process; one more is a 429.", maxExports),
		Responses: map[string]*huma.Response{"200": {
			Description: "The export.",
			Content:     map[string]*huma.MediaType{"application/jsonl": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
		Errors: []int{
			http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		},
	}, s.export)
}

func (s *server) export(ctx context.Context, in *exportQuery) (*streamed, error) {
	of, err := tenantOf(ctx, "query.tenant_id", in.TenantID)
	if err != nil {
		return nil, err
	}
	head := exportHead{Kind: kindHead, Format: exportFormat, Version: exportVersion, CreatedAt: time.Now().UTC().Truncate(time.Microsecond), What: in.What}
	if head.Tenant, err = tenancy.Get(ctx, s.pool, of); err != nil {
		return nil, err // no rows: 404
	}
	if in.What == "all" {
		since, until := in.Since.UTC(), in.Until.UTC()
		if in.Until.IsZero() {
			until = head.CreatedAt
		}
		if !until.After(since) {
			return nil, fault("query.until", "must be after since")
		}
		if !in.Since.IsZero() {
			head.Since = &since
		}
		head.Until = &until
	}
	if !s.exports.open(of, 1) {
		return nil, tooManyExports("an export of this tenant runs already")
	}
	if !s.exports.open(events.TenantID{}, maxExports) {
		s.exports.close(of)
		return nil, tooManyExports(fmt.Sprintf("%d exports run already, which is the limit", maxExports))
	}
	ended := func() { s.exports.close(events.TenantID{}); s.exports.close(of) }
	// An export takes everything of a tenant away, so that the log has it although it changes nothing.
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		u := &unit{Tx: tx, of: of}
		u.became(map[string]any{"what": head.What, "since": head.Since, "until": head.Until})
		return record(ctx, u)
	})
	if err != nil {
		ended()
		return nil, err
	}
	return &streamed{Body: func(hc huma.Context) {
		defer ended()
		s.sendExport(ctx, hc, &head)
	}}, nil
}

func tooManyExports(words string) error {
	return huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, "%s; try again when it has ended", words), http.Header{"Retry-After": {"10"}})
}

func (s *server) sendExport(ctx context.Context, hc huma.Context, head *exportHead) {
	_, w := humago.Unwrap(hc)
	hc.SetHeader("Content-Type", "application/jsonl")
	hc.SetHeader("Content-Disposition", `attachment; filename="`+head.Tenant.ID.String()+`.jsonl"`)
	hc.SetStatus(http.StatusOK)
	e := &exporter{s: s, w: w, counts: map[string]int64{}}
	if err := e.run(ctx, head); err != nil {
		if ctx.Err() == nil {
			s.log.Warn("an export broke off", zap.Stringer("tenant_id", head.Tenant.ID), zap.Error(err))
		}
		panic(http.ErrAbortHandler) // the only way to tell the client, beside the line that is missing
	}
}

// exporter writes the lines of one export.
type exporter struct {
	s      *server
	w      http.ResponseWriter
	buf    bytes.Buffer
	counts map[string]int64
	asked  time.Time // when the caller's rights were last looked up
}

func (e *exporter) run(ctx context.Context, head *exportHead) error {
	e.asked = time.Now()
	if err := e.encode(head); err != nil {
		return err
	}
	if err := e.configuration(ctx, head.Tenant.ID); err != nil {
		return err
	}
	if head.Until != nil {
		var since time.Time
		if head.Since != nil {
			since = *head.Since
		}
		if err := e.events(ctx, head.Tenant.ID, since, *head.Until); err != nil {
			return err
		}
	}
	if err := e.encode(exportEnd{Kind: kindEnd, Counts: e.counts}); err != nil {
		return err
	}
	return e.flush()
}

// configuration writes what the tenant has set up. Each page is a statement of its own.
func (e *exporter) configuration(ctx context.Context, of events.TenantID) error {
	set, err := tenancy.GetQuota(ctx, e.s.pool, of)
	if err != nil {
		return err
	}
	if err := line(e, kindQuota, quotaValues(set)); err != nil {
		return err
	}
	if err := e.eventTypes(ctx, of); err != nil {
		return err
	}
	after := ""
	err = paged(ctx, e, kindDomain, showDomain, func() ([]mailbox.Domain, bool, error) {
		list, err := mailbox.ListDomains(ctx, e.s.pool, of, after, exportPage)
		return list, len(list) == exportPage, err
	}, func(d *mailbox.Domain) { after = d.Name })
	if err != nil {
		return err
	}
	after = ""
	err = paged(ctx, e, kindAgent, showAgent, func() ([]mailbox.Agent, bool, error) {
		list, more, err := mailbox.ListAgents(ctx, e.s.pool, of, after, exportPage)
		return list, more || len(list) == exportPage, err
	}, func(a *mailbox.Agent) { after = a.Address })
	if err != nil {
		return err
	}
	var place subscribers.Place
	return paged(ctx, e, kindWebhook, showWebhook, func() ([]subscribers.Webhook, bool, error) {
		list, more, err := e.s.store.ListPage(ctx, of, place, exportPage)
		return list, more || len(list) == exportPage, err
	}, func(w *subscribers.Webhook) { place = subscribers.Place{CreatedAt: w.CreatedAt, ID: w.ID} })
}

// eventTypes writes the tenant's own types. Each is read by itself: its schema and its sample may be large.
func (e *exporter) eventTypes(ctx context.Context, of events.TenantID) error {
	for after := ""; ; {
		names, err := eventtype.List(ctx, e.s.pool, of, after, exportPage, eventtype.Which{Own: true})
		if err != nil {
			return err
		}
		for i := range names {
			after = string(names[i].Name)
			t, err := eventtype.Get(ctx, e.s.pool, of, names[i].Name)
			if errors.Is(err, eventtype.ErrNotFound) || err == nil && t.TenantID.IsZero() {
				continue // it was deleted meanwhile
			}
			if err != nil {
				return err
			}
			if err := line(e, kindType, showType(t)); err != nil {
				return err
			}
		}
		if len(names) < exportPage {
			return nil
		}
		if err := e.goOn(ctx); err != nil {
			return err
		}
	}
}

// paged writes a list page by page. read returns the rows that come after the last one of which passed was told, and
// whether more may come after them.
func paged[R, T any](ctx context.Context, e *exporter, kind string, show func(R) T, read func() ([]R, bool, error), passed func(*R)) error {
	for {
		rows, more, err := read()
		if err != nil {
			return err
		}
		for i := range rows {
			if err := line(e, kind, show(rows[i])); err != nil {
				return err
			}
			passed(&rows[i])
		}
		if !more {
			return nil
		}
		if err := e.goOn(ctx); err != nil {
			return err
		}
	}
}

// events writes the events of a window, oldest first, each with its message. A page holds a connection only while it is
// read; then the export rests as long as that took, so that it uses half a connection at most.
func (e *exporter) events(ctx context.Context, of events.TenantID, since, until time.Time) error {
	var after *events.Record
	for {
		began := time.Now()
		list, err := outbox.ReadLogged(ctx, e.s.pool, of, since, until, after)
		if err != nil || len(list) == 0 {
			return err
		}
		messages, err := e.messages(ctx, of, list)
		if err != nil {
			return err
		}
		rest := time.NewTimer(time.Since(began))
		for i := range list {
			if err := e.event(&list[i], messages); err != nil {
				rest.Stop()
				return err
			}
		}
		after = &list[len(list)-1].Record
		select {
		case <-rest.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := e.goOn(ctx); err != nil {
			return err
		}
	}
}

// messages reads the messages of received mails.
func (e *exporter) messages(ctx context.Context, of events.TenantID, list []outbox.Logged) (map[events.MessageID]mailbox.Message, error) {
	var ids []events.MessageID
	var created []time.Time
	for i := range list {
		if id, err := events.Parse[events.MessageKind](list[i].MessageID); err == nil && list[i].Type == events.EmailReceived {
			ids, created = append(ids, id), append(created, list[i].CreatedAt)
		}
	}
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // no event has one
	}
	return mailbox.FindMessages(ctx, e.s.pool, of, ids, created)
}

func (e *exporter) event(l *outbox.Logged, messages map[events.MessageID]mailbox.Message) error {
	if !utf8.Valid(l.Envelope) {
		return fmt.Errorf("the envelope of %s is not UTF-8", l.ID)
	}
	if err := line(e, kindEvent, exportedEvent{Event: showEvent(l.Record), Replayed: l.Seq > 0, Envelope: string(l.Envelope)}); err != nil {
		return err
	}
	id, err := events.Parse[events.MessageKind](l.MessageID)
	if err != nil {
		return nil //nolint:nilerr // the event is about no message
	}
	m, ok := messages[id]
	if !ok || m.EventID != l.ID {
		return nil
	}
	return line(e, kindMessage, exportedMessage{ID: m.ID, AgentID: m.AgentID, EventID: m.EventID, CreatedAt: m.CreatedAt, Size: m.Raw.Size})
}

// goOn returns an error if the export must end: its key is revoked, or the process stops.
func (e *exporter) goOn(ctx context.Context) error {
	select {
	case <-e.s.stopping:
		return errors.New("the server stops")
	default:
	}
	if time.Since(e.asked) < revocationCheck {
		return nil
	}
	ok, err := tenancy.Valid(ctx, e.s.pool, caller(ctx))
	if err == nil && !ok {
		err = tenancy.ErrUnauthenticated
	}
	e.asked = time.Now()
	return err
}

// line writes an object and counts it.
func line[T any](e *exporter, kind string, data T) error {
	e.counts[kind]++
	return e.encode(exportLine[T]{Kind: kind, Data: data})
}

func (e *exporter) encode(v any) error {
	to := json.NewEncoder(&e.buf)
	to.SetEscapeHTML(false)
	if err := to.Encode(v); err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	if e.buf.Len() < exportChunk {
		return nil
	}
	return e.flush()
}

// flush sends what is gathered.
func (e *exporter) flush() error {
	if _, err := e.buf.WriteTo(e.w); err != nil {
		return fmt.Errorf("send an export: %w", err)
	}
	return nil
}
