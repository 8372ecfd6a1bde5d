package stream

import (
	"slices"
)

// Role is a process's use of the streams. A process creates and updates only the streams
// that its role uses, and needs no rights on others.
type Role string

// The roles of the processes.
const (
	// Everything, the zero value, uses all streams.
	Everything Role = ""
	// Publisher relays into MAIL_EVENTS.
	Publisher Role = "publisher"
	// Dispatcher consumes MAIL_EVENTS, and publishes to and consumes DELIVERIES.
	Dispatcher Role = "dispatcher"
	// Ingest consumes MAIL_INTAKE and MAIL_RAW, and publishes dead letters to MAIL_DEAD.
	Ingest Role = "ingest"
	// API uses core NATS only.
	API Role = "api"
	// Edge publishes to MAIL_RAW. It creates nothing.
	Edge Role = "edge"
)

// streams returns the names of the streams that a role uses.
func (r Role) streams() []string {
	switch r {
	case Publisher:
		return []string{Events}
	case Dispatcher:
		return []string{Events, Deliveries}
	case Ingest:
		return []string{Intake, Raw, Dead}
	case API, Edge:
		return nil
	case Everything:
	}
	return []string{Events, Deliveries, Intake, Raw, Dead}
}

func (r Role) uses(stream string) bool {
	if kind(stream) == ownPrefix {
		stream = Intake
	}
	return slices.Contains(r.streams(), stream)
}

// fansOut reports whether the role consumes MAIL_EVENTS.
func (r Role) fansOut() bool { return r == Everything || r == Dispatcher }
