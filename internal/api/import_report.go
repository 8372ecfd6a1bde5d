package api

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// ImportOptions configure [ImportTenant].
type ImportOptions struct {
	// Pool is the database, as the role that owns the tables: past days may need partitions.
	Pool *pgxpool.Pool
	// Tenant is the tenant here that gets the objects. It must exist.
	Tenant events.TenantID
	// Limits are the limits of webhooks, and the URLs that they and agents may have.
	Limits subscribers.Limits
	// Secrets seals the webhooks' secrets; nil: they are stored in clear.
	Secrets *keyring.Keyring
	// Quota also sets the quota of the file.
	Quota bool
	// GiveDomains gives the tenant the file's verified domains as verified ones, on the operator's word. Otherwise they
	// are added, and must be verified here.
	GiveDomains bool
	// DryRun checks everything and changes nothing.
	DryRun bool
	// Progress is called after each batch of events; nil: it is not.
	Progress func(done, total int64)
}

// ImportCount is what became of the objects of a kind.
type ImportCount struct {
	What  string `json:"what"`
	There int64  `json:"there"` // in the file
	Added int64  `json:"added"`
	Here  int64  `json:"here"` // the tenant has them already; they stay as they are
	Old   int64  `json:"old"`  // past their retention, and left out
}

// RestoredWebhook is a webhook that an import has made. It is paused.
type RestoredWebhook struct {
	ID            events.WebhookID `json:"id"`
	URL           string           `json:"url"`
	SigningSecret string           `json:"signing_secret"` // shown only here; "" if the file brought it along
	Missing       []string         `json:"missing"`        // settings of which the file does not have the secrets: they are not set
}

// ImportReport says what an import has done, or what it would do.
type ImportReport struct {
	From     events.TenantID   `json:"from"` // the tenant's id where it was exported
	Rows     []*ImportCount    `json:"rows"`
	Webhooks []RestoredWebhook `json:"webhooks"`
}

func newImportReport() *ImportReport {
	r := &ImportReport{Webhooks: []RestoredWebhook{}}
	for _, what := range []string{"alert_addresses", "event_types", "domains", "agents", "webhooks", "events", "messages"} {
		r.Rows = append(r.Rows, &ImportCount{What: what})
	}
	return r
}

func (r *ImportReport) row(what string) *ImportCount {
	for _, c := range r.Rows {
		if c.What == what {
			return c
		}
	}
	panic("no row of a report: " + what)
}

// importer is one import.
type importer struct {
	o      ImportOptions
	now    time.Time
	file   *importFile
	report *ImportReport
	batch  []importedEvent
	size   int
	done   int64
}
