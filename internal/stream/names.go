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
