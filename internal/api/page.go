package api

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers"
)

// Paging are a list's parameters.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many to give at most."`
	Cursor string `query:"cursor" maxLength:"1500" doc:"The next_cursor of the page before; none for the first page."`
}

// list is a page of a list.
type list[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor" doc:"The cursor of the next page; null on the last one."`
}

// The cursor is the last row's creation time in Unix microseconds, the
// database's own precision, and its id.
const cursorBytes = 8 + 16

func (p *Paging) after() (subscribers.Place, error) { return placeOf(p.Cursor, "query.cursor") }

// placeOf is the place that a cursor stands for; a fault names the location.
func placeOf(cursor, location string) (subscribers.Place, error) {
	if cursor == "" {
		return subscribers.Place{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) != cursorBytes {
		return subscribers.Place{}, fault(location, "is not a cursor that was given here")
	}
	us := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // checked below
	if us <= 0 || us > maxCursor {
		return subscribers.Place{}, fault(location, "is not a cursor that was given here")
	}
	at := subscribers.Place{CreatedAt: time.UnixMicro(us)}
	copy(at.ID[:], raw[8:])
	return at, nil
}

// maxCursor is the end of the year 9999.
const maxCursor = 253402300799999999

// scanNote is said of lists whose filters may want few of many rows.
const scanNote = "Newest first. With a filter, a page may have fewer rows than `limit`, or none, before the list's end: " +
	"one request looks through a bounded piece of history. Only a `next_cursor` of null is the end."

// page cuts a list that was read with one row more than asked for.
func page[R, T any](p *Paging, rows []R, place func(R) (time.Time, [16]byte), show func(R) T) *body[list[T]] {
	return pageTo(p, rows, subscribers.Place{}, place, show)
}

// pageTo is page for a list that may have stopped at end before it had enough
// rows; zero: it did not.
func pageTo[R, T any](p *Paging, rows []R, end subscribers.Place, place func(R) (time.Time, [16]byte), show func(R) T) *body[list[T]] {
	out := list[T]{Data: make([]T, 0, min(len(rows), p.Limit))}
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		end.CreatedAt, end.ID = place(rows[p.Limit-1])
	}
	for _, r := range rows {
		out.Data = append(out.Data, show(r))
	}
	out.NextCursor = cursorOf(end)
	return reply(out)
}

// cursorOf is the cursor of a place, nil for the zero one.
func cursorOf(p subscribers.Place) *string {
	if p.CreatedAt.IsZero() {
		return nil
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, cursorBytes), uint64(p.CreatedAt.UnixMicro()))
	cursor := base64.RawURLEncoding.EncodeToString(append(raw, p.ID[:]...))
	return &cursor
}
