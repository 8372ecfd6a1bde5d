package replay

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// phase is the phase of reading.
type phase string

const (
	// phaseWait waits until every event of the window has been fanned out. The fan-out
	// delivers those that have not.
	phaseWait phase = "wait"
	// phaseBefore reads the events before the boundary from the table.
	phaseBefore phase = "before"
	// phaseStream reads the events from the boundary on from the stream.
	phaseStream phase = "stream"
	// phaseCheck compares the stream's events with the table's.
	phaseCheck phase = "check"
	// phaseAfter reads the events from the boundary on from the table, because the
	// stream lacked some.
	phaseAfter phase = "after"
	// phaseDone means that everything is read.
	phaseDone phase = "done"
)

// cursor is the position of reading. It is stored in one transaction with the matches
// up to it.
type cursor struct {
	phase phase
	// boundary is the creation time from which on the events are read from the stream.
	boundary time.Time
	// first is true before the first read of a phase. Otherwise atTime and atID are the
	// last event read from the table.
	first  bool
	atTime time.Time
	atID   events.ID
	// atSeq is the sequence of the last message read from the stream, endSeq that of the
	// last one to read.
	atSeq, endSeq int64
	// seen counts the events of the window that came from the stream.
	seen int64
	// matched counts the matches, matchedBefore those before the boundary.
	matched, matchedBefore int64
	// fromStream and fromTable report whether any event came from there.
	fromStream, fromTable bool
}
