package stream

import (
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// Names of the streams, of their shared durable consumers, and of the priority group.
const (
	Events     = "MAIL_EVENTS"
	Deliveries = "DELIVERIES"
	Intake     = "MAIL_INTAKE"
	Dead       = "MAIL_DEAD"

	Fanout         = "fanout"
	IntakeConsumer = "intake"

	fanoutGroup = "fanout"
)

// Names of what carries raw mails. The buckets' streams are OBJ_mail-raw and
// KV_mail-recipients.
const (
	Raw         = "MAIL_RAW"
	RawConsumer = "raw"
	// RawPrefix is the prefix of the subjects of raw mails: mail.raw.<node>.
	RawPrefix = "mail.raw."
	// RawObjects has the mails that exceed the broker's message size.
	RawObjects = "mail-raw"
	// RawObjectsStream is its stream.
	RawObjectsStream = "OBJ_" + RawObjects
	// Recipients has a key for each address that receives.
	Recipients = "mail-recipients"
	// RecipientsStream is its stream.
	RecipientsStream = "KV_" + Recipients
)

// ownPrefix is the prefix of the names of tenants' own intake streams.
const ownPrefix = Intake + "_"

// OwnIntakeName returns the name of the tenant's own intake stream. A tenant whose producers
// have an account of their own has one, so that they can fill no other tenant's. The account
// maps the tenant's intake subject to its subject.
func OwnIntakeName(t events.TenantID) string { return ownPrefix + t.String() }

// ownTenant returns the tenant whose own intake stream has the name; false for another stream.
func ownTenant(name string) (events.TenantID, bool) {
	rest, ok := strings.CutPrefix(name, ownPrefix)
	if !ok {
		return events.TenantID{}, false
	}
	t, err := events.Parse[events.TenantKind](rest)
	return t, err == nil
}

// kind returns the name of the stream whose bound and use a stream has: a tenant's own intake
// stream is ownPrefix.
func kind(name string) string {
	if _, own := ownTenant(name); own {
		return ownPrefix
	}
	return name
}
