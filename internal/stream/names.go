package stream

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
)
