package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// settings imports the quota, the alert addresses, the event types, the domains, the agents and the webhooks.
func (im *importer) settings(ctx context.Context, tx pgx.Tx) error {
	im.report.From = im.file.head.Tenant.ID
	if err := tenancy.Lock(ctx, tx, im.o.Tenant); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("there is no tenant %s here: create it first", im.o.Tenant)
		}
		return err
	}
	if err := tenancy.InUse(ctx, tx, im.o.Tenant); err != nil {
		return err
	}
	quota, err := im.quota(ctx, tx)
	if err != nil {
		return err
	}
	if err := im.alertAddresses(ctx, tx); err != nil {
		return err
	}
	if err := im.eventTypes(ctx, tx); err != nil {
		return err
	}
	if err := im.domains(ctx, tx, quota.Domains); err != nil {
		return err
	}
	if err := im.agents(ctx, tx, quota.Agents); err != nil {
		return err
	}
	return im.webhooks(ctx, tx, quota.Webhooks)
}

// quota returns the quota that holds, after it has set that of the file if it is to.
func (im *importer) quota(ctx context.Context, tx pgx.Tx) (tenancy.Quota, error) {
	defaults := tenancy.DefaultQuota()
	defaults.Webhooks = int64(im.o.Limits.WithDefaults().WebhooksPerTenant)
	if q := im.file.quota; q != nil && im.o.Quota {
		if err := checkQuota(&q.data); err != nil {
			return tenancy.Quota{}, &LineError{Line: q.line, Err: err}
		}
		if err := tenancy.SetQuota(ctx, tx, im.o.Tenant, tenancy.Quota(q.data)); err != nil {
			return tenancy.Quota{}, err
		}
	}
	set, err := tenancy.GetQuota(ctx, tx, im.o.Tenant)
	return set.Or(defaults), err
}

// alertAddresses gives the tenant the alert addresses of the file, unless it has some. Who imports is the operator, who may
// vouch for them.
func (im *importer) alertAddresses(ctx context.Context, tx pgx.Tx) error {
	row := im.report.row("alert_addresses")
	addresses, err := tenancy.CheckAlertAddresses(im.file.head.Tenant.AlertAddresses)
	if f, ok := errors.AsType[*events.FieldError](err); ok {
		return &LineError{Line: 1, Err: &events.FieldError{Field: "tenant." + f.Field, Reason: f.Reason}}
	}
	if err != nil {
		return err
	}
	row.There = int64(len(addresses))
	have, err := tenancy.AlertAddresses(ctx, tx, im.o.Tenant)
	if err != nil || len(addresses) == 0 {
		return err
	}
	if len(have) > 0 {
		for _, a := range addresses {
			if slices.Contains(have, a) {
				row.Here++
			}
		}
		return nil
	}
	row.Added = row.There
	_, err = tenancy.SetAlertAddresses(ctx, tx, im.o.Tenant, addresses)
	return err
}

// eventTypes imports the tenant's own types. They come before the webhooks that name them.
func (im *importer) eventTypes(ctx context.Context, tx pgx.Tx) error {
	row := im.report.row("event_types")
	row.There = int64(len(im.file.types))
	types := eventschema.NewChecker(false)
	for i := range im.file.types {
		t := &im.file.types[i]
		made := false
		verified, err := types.Verify(ctx, eventtype.Type{
			TenantID: im.o.Tenant, Name: events.Type(t.data.Name), Description: t.data.Description, Schema: t.data.Schema, Sample: t.data.Sample, Deprecated: t.data.Deprecated,
		})
		if err == nil {
			made, err = eventschema.Restore(ctx, tx, verified)
		}
		var limit *eventtype.LimitError
		switch {
		case errors.As(err, &limit):
			return &LineError{Line: t.line, Err: err}
		case err != nil:
			return at(t.line, err)
		case made:
			row.Added++
		default:
			row.Here++
		}
	}
	return nil
}

// checkQuota checks a quota against the limits of a change of it; zero is the server's default.
func checkQuota(q *quotaValues) error {
	values, limits := reflect.ValueOf(q).Elem(), reflect.TypeFor[quotaChange]()
	for i := range values.NumField() {
		f, _ := limits.FieldByName(values.Type().Field(i).Name)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		most, err := strconv.ParseInt(f.Tag.Get("maximum"), 10, 64)
		if err != nil {
			return fmt.Errorf("the limit of %s: %w", name, err)
		}
		least, err := strconv.ParseInt(f.Tag.Get("minimum"), 10, 64)
		if err != nil {
			return fmt.Errorf("the limit of %s: %w", name, err)
		}
		if n := values.Field(i).Int(); n != 0 && n < least || n > most {
			return &events.FieldError{Field: "data." + name, Reason: fmt.Sprintf("is %d; it must be from %d to %d, or 0 for the server's default", n, least, most)}
		}
	}
	return nil
}

// added counts an object that was added to those that the tenant had, and checks the limit. room is what is left of it.
func added(row *ImportCount, room *int64, line int, name string, limit int64) error {
	row.Added++
	if *room--; *room < 0 {
		return &LineError{Line: line, Err: fmt.Errorf("quota %s: this tenant may have %d %s", name, limit, name)}
	}
	return nil
}

func (im *importer) domains(ctx context.Context, tx pgx.Tx, limit int64) error {
	row := im.report.row("domains")
	row.There = int64(len(im.file.domains))
	have, err := mailbox.CountDomains(ctx, tx, im.o.Tenant)
	if err != nil {
		return err
	}
	room := limit - have
	for i := range im.file.domains {
		d := &im.file.domains[i]
		made, err := im.domain(ctx, tx, &d.data)
		switch {
		case errors.Is(err, mailbox.ErrDomainTaken), errors.Is(err, mailbox.ErrDomainReleased):
			return &LineError{Line: d.line, Err: &events.FieldError{Field: "data.domain", Reason: err.Error()}}
		case err != nil:
			return at(d.line, err)
		case !made:
			row.Here++
			continue
		}
		if err := added(row, &room, d.line, "domains", limit); err != nil {
			return err
		}
	}
	return nil
}

// at says in which line a bad field is.
func at(line int, err error) error {
	var limit *subscribers.LimitError
	if f, ok := errors.AsType[*events.FieldError](err); ok {
		return &LineError{Line: line, Err: &events.FieldError{Field: "data." + f.Field, Reason: f.Reason}}
	}
	if errors.As(err, &limit) {
		return &LineError{Line: line, Err: err}
	}
	return err
}

func (im *importer) domain(ctx context.Context, tx pgx.Tx, d *domain) (made bool, err error) {
	give := im.o.GiveDomains && d.VerifiedAt != nil
	name := d.Domain
	if name != mailbox.EveryDomain || !give {
		if name, err = mailbox.CleanDomain(name); err != nil {
			return false, err
		}
	}
	had, err := mailbox.GetDomain(ctx, tx, im.o.Tenant, name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	known := err == nil
	switch {
	case known && (had.VerifiedAt != nil || !give):
		return false, nil
	case give:
		_, err = mailbox.GiveDomain(ctx, tx, im.o.Tenant, name)
	default:
		_, err = mailbox.ClaimDomain(ctx, tx, im.o.Tenant, name)
	}
	return !known, err
}

func (im *importer) agents(ctx context.Context, tx pgx.Tx, limit int64) error {
	row := im.report.row("agents")
	row.There = int64(len(im.file.agents))
	have, err := mailbox.CountAgents(ctx, tx, im.o.Tenant)
	if err != nil {
		return err
	}
	room := limit - have
	for i := range im.file.agents {
		a := &im.file.agents[i]
		made, err := im.agent(ctx, tx, &a.data)
		if err != nil {
			return at(a.line, err)
		}
		if !made {
			row.Here++
			continue
		}
		if err := added(row, &room, a.line, "agents", limit); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) agent(ctx context.Context, tx pgx.Tx, a *agent) (made bool, err error) {
	address, err := mailbox.CleanAddress(a.Address)
	if err != nil {
		return false, err
	}
	if _, err := mailbox.GetAgent(ctx, tx, im.o.Tenant, address); !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	url := orEmpty(a.WebhookURL)
	if url != "" {
		if url, err = im.o.Limits.NormalizeURL("webhook_url", url); err != nil {
			return false, err
		}
	}
	if err := mailbox.CheckOwner(ctx, tx, im.o.Tenant, address); err != nil {
		return false, err
	}
	_, made, err = mailbox.CreateAgent(ctx, tx, im.o.Tenant, address, url)
	if err == nil && !made {
		err = &events.FieldError{Field: "address", Reason: "is taken"}
	}
	if err != nil {
		return false, err
	}
	_, err = mailbox.ChangeAgent(ctx, tx, im.o.Tenant, address, mailbox.AgentChange{Allow: &a.AllowSenders, Deny: &a.DenySenders, RequireDMARC: &a.RequireDMARC})
	return true, err
}

func (im *importer) webhooks(ctx context.Context, tx pgx.Tx, limit int64) error {
	row := im.report.row("webhooks")
	row.There = int64(len(im.file.webhooks))
	limits := im.o.Limits
	limits.WebhooksPerTenant = int(limit)
	store := subscribers.NewStore(im.o.Pool, limits).WithKeyring(im.o.Secrets).In(tx)
	for i := range im.file.webhooks {
		given := &im.file.webhooks[i]
		w, missing, err := given.data.webhook(im.now)
		if err != nil {
			return at(given.line, err)
		}
		made, secret, fresh, err := store.Restore(ctx, im.o.Tenant, w)
		if err != nil {
			return at(given.line, err)
		}
		if !fresh {
			row.Here++
			continue
		}
		row.Added++
		if w.SigningSecret != "" || im.o.DryRun {
			secret = ""
		}
		im.report.Webhooks = append(im.report.Webhooks, RestoredWebhook{ID: made.ID, URL: made.URL, SigningSecret: secret, Missing: missing})
	}
	return nil
}

// webhook returns the webhook of a line, paused, and the names of the settings of which the line does not have the
// secrets: it is without these. A file from elsewhere may hold anything, so that nothing of it is taken for checked.
func (r *restoredWebhook) webhook(now time.Time) (w subscribers.Webhook, missing []string, err error) {
	if r.ID.IsZero() {
		return w, nil, &events.FieldError{Field: "id", Reason: "is required"}
	}
	w = subscribers.Webhook{
		ID: r.ID, URL: r.URL, Subject: orEmpty(r.Subject), Description: r.Description, Events: eventPatterns(r.Events), Filters: r.Filters.settings(), Enabled: r.Enabled, Paused: true,
		MaxInFlight: r.MaxInFlight, RateLimit: orZero(r.RateLimit), Ordering: subscribers.Ordering(r.Ordering), Headers: map[string]string{},
		CA: orEmpty(r.CA), Ed25519: r.Ed25519, SigningSecret: r.SigningSecret,
	}
	if d := time.Duration(r.Timeout) * time.Second; d != subscribers.DefaultTimeout {
		w.Timeout = d
	}
	if w.Retry, err = r.policy(); err != nil {
		return w, nil, err
	}
	if r.EnvelopeUntil != nil && r.EnvelopeUntil.After(now) {
		w.Envelope, w.EnvelopeUntil = orEmpty(r.Envelope), r.EnvelopeUntil
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if r.Headers[name] == subscribers.Masked {
			missing = append(missing, "header "+name)
			continue
		}
		w.Headers[name] = r.Headers[name]
	}
	if auth := (*authSettings)(r.Auth); auth != nil {
		if auth.Password == subscribers.Masked || auth.ClientSecret == subscribers.Masked || auth.PrivateKey == subscribers.Masked || auth.Credentials == subscribers.Masked {
			missing = append(missing, "auth "+auth.Type)
		} else {
			w.Auth = auth.settings()
		}
	}
	if w.Kind = subscribers.Kind(r.Kind); w.Kind == subscribers.KindPull {
		// It waits for its consumers anyway, and has none of the defaults that are shown of POSTs.
		w.Paused, w.MaxInFlight, w.Timeout = false, 0, 0
	}
	return w, missing, nil
}

func (r *restoredWebhook) policy() (*subscribers.Retry, error) {
	if r.Retry == nil {
		return nil, nil //nolint:nilnil // the default schedule
	}
	p, err := retry.Parse(retry.Text(*r.Retry))
	if f, ok := errors.AsType[*events.FieldError](err); ok {
		return nil, &events.FieldError{Field: "retry." + f.Field, Reason: f.Reason}
	}
	return &p, err
}

func orZero(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
