package stream

// The streams and the durable consumers on them.
const (
	Events     = "MAIL_EVENTS"
	Deliveries = "DELIVERIES"
	Intake     = "MAIL_INTAKE"
	Dead       = "MAIL_DEAD"

	Fanout         = "fanout"
	IntakeConsumer = "intake"

	fanoutGroup = "fanout"
)
