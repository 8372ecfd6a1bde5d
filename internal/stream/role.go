package stream

import (
	"slices"
)

// Role is what a process does with the streams. It keeps those in order that it
// works with, and needs no right to any other.
type Role string

// The roles of the processes.
const (
	// Everything is the zero value: one process that does it all.
	Everything Role = ""
	// Publisher relays into MAIL_EVENTS.
	Publisher Role = "publisher"
	// Dispatcher consumes MAIL_EVENTS, and DELIVERIES in both directions.
	Dispatcher Role = "dispatcher"
	// Ingest consumes MAIL_INTAKE and publishes dead letters to MAIL_DEAD.
	Ingest Role = "ingest"
	// API sends and asks over core NATS alone.
	API Role = "api"
)

// streams are the names of the streams that a role works with.
func (r Role) streams() []string {
	switch r {
	case Publisher:
		return []string{Events}
	case Dispatcher:
		return []string{Events, Deliveries}
	case Ingest:
		return []string{Intake, Dead}
	case API:
		return nil
	case Everything:
	}
	return []string{Events, Deliveries, Intake, Dead}
}

func (r Role) uses(stream string) bool { return slices.Contains(r.streams(), stream) }

// fansOut says whether the role consumes MAIL_EVENTS.
func (r Role) fansOut() bool { return r == Everything || r == Dispatcher }
