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

func (p *Paging) after() (subscribers.Place, error) {
	if p.Cursor == "" {
		return subscribers.Place{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(raw) != cursorBytes {
		return subscribers.Place{}, fault("query.cursor", "is not a cursor that this list gave")
	}
	us := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // checked below
	if us <= 0 || us > maxCursor {
		return subscribers.Place{}, fault("query.cursor", "is not a cursor that this list gave")
	}
	at := subscribers.Place{CreatedAt: time.UnixMicro(us)}
	copy(at.ID[:], raw[8:])
	return at, nil
}

// maxCursor is the end of the year 9999.
const maxCursor = 253402300799999999

// page cuts a list that was read with one row more than asked for.
func page[R, T any](p *Paging, rows []R, place func(R) (time.Time, [16]byte), show func(R) T) *body[list[T]] {
	out := list[T]{Data: make([]T, 0, min(len(rows), p.Limit))}
	for i, r := range rows {
		if i == p.Limit {
			at, id := place(rows[i-1])
			raw := binary.BigEndian.AppendUint64(make([]byte, 0, cursorBytes), uint64(at.UnixMicro()))
			next := base64.RawURLEncoding.EncodeToString(append(raw, id[:]...))
			out.NextCursor = &next
			break
		}
		out.Data = append(out.Data, show(r))
	}
	return reply(out)
}
