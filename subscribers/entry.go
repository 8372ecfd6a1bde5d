package subscribers

import (
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/datafilter"
	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// Entry is a webhook in a [Registry]. It is immutable, safe for concurrent use, and
// holds the signing secrets, which only [Entry.Signer] uses.
type Entry struct {
	ID          events.WebhookID
	TenantID    events.TenantID
	URL         string
	Events      []events.Type
	Filters     Filters
	Enabled     bool
	Paused      bool // its deliveries wait
	Deleted     bool
	MaxInFlight int  // attempts, over all dispatchers
	RateLimit   int  // attempts a second; 0 for none
	Strict      bool // ordering "strict"
	Pull        bool // of [KindPull]: its deliveries are polled
	// Timeout bounds an attempt; 0: [DefaultTimeout].
	Timeout time.Duration
	// Retry is the webhook's own policy; nil: the default schedule.
	Retry *Retry
	// MaxAttempts is the number of attempts of each of its deliveries.
	MaxAttempts int
	// Envelope is [EnvelopeV04] until EnvelopeUntil, or "" for Fanmail's own.
	Envelope      string
	EnvelopeUntil *time.Time

	xid      uint64
	data     *datafilter.Filter // of Filters.Data; nil: none
	secrets  secrets
	sealed   string            // what requests need beside the URL, as it is stored; "": nothing
	settings endpoint.Settings // the same, opened
	once     sync.Once
	target   *url.URL
	endpoint *attempt.Endpoint
	signers  []*signature.Signer // by how many previous secrets sign too
	err      error
}

// OldEnvelope reports whether the webhook gets an older envelope at a time.
func (e *Entry) OldEnvelope(now time.Time) bool {
	return e.Envelope != "" && e.EnvelopeUntil != nil && now.Before(*e.EnvelopeUntil)
}

// Target returns the webhook's URL, parsed. Callers share the result and must not
// change it. The error does not show the URL.
func (e *Entry) Target() (*url.URL, error) {
	e.prepare()
	return e.target, e.err
}

// Locked reports whether a secret of the webhook is sealed with a key that this
// process does not have. Its deliveries wait until the key is there.
func (e *Entry) Locked() bool { return e.secrets.err != nil }

// Signer returns the signer of the webhook's POSTs at a time. It signs with each
// previous secret too, until [RotationGrace] after the rotation that replaced it. The
// error does not show a secret.
func (e *Entry) Signer(now time.Time) (*signature.Signer, error) {
	e.prepare()
	if e.err != nil {
		return nil, e.err
	}
	return e.signers[e.secrets.signing(now)], nil
}

// Endpoint returns what the webhook's settings add to its requests; nil: nothing. The
// error does not show them.
func (e *Entry) Endpoint() (*attempt.Endpoint, error) {
	e.prepare()
	return e.endpoint, e.err
}

// prepare parses the URL, opens the settings and makes the signers at the first
// attempt. Most webhooks in memory have no attempt in a while.
func (e *Entry) prepare() {
	e.once.Do(func() {
		if e.target, e.err = url.Parse(e.URL); e.err != nil {
			e.err = errors.New("the webhook's URL can't be read")
			return
		}
		if e.endpoint, e.err = attempt.NewEndpoint(e.TenantID, e.ID, &e.settings, e.Timeout); e.err != nil {
			return
		}
		e.signers, e.err = e.secrets.signers(e.settings.SigningKey)
	})
}
