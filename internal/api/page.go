package api

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Paging holds the parameters of a list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"The maximum number of rows."`
	Cursor string `query:"cursor" maxLength:"1500" doc:"The next_cursor of the previous page; absent for the first page."`
}

// list is one page of a list.
type list[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor" doc:"The cursor of the next page; null on the last page."`
}

// A cursor is the creation time of the last row, in Unix microseconds (the
// precision of Postgres), and the row's id.
const cursorBytes = 8 + 16

// scanNote is part of the description of a list with filters.
const scanNote = "Newest first. One request reads a bounded amount of history, so that with a filter a page can have fewer rows than " +
	"`limit`, or none, before the end of the list. The list ends only where `next_cursor` is null."

func (p *Paging) after() (subscribers.Place, error) { return placeOf(p.Cursor, "query.cursor") }

// placeOf decodes a cursor. The error names location, the cursor's field.
func placeOf(cursor, location string) (subscribers.Place, error) {
	if cursor == "" {
		return subscribers.Place{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) != cursorBytes {
		return subscribers.Place{}, fault(location, "is not a cursor of this API")
	}
	us := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // checked below
	if us <= 0 || us > input.Latest.UnixMicro() {
		return subscribers.Place{}, fault(location, "is not a cursor of this API")
	}
	at := subscribers.Place{CreatedAt: time.UnixMicro(us)}
	copy(at.ID[:], raw[8:])
	return at, nil
}

// cursorOf encodes a place; nil for the zero place.
func cursorOf(p subscribers.Place) *string {
	if p.CreatedAt.IsZero() {
		return nil
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, cursorBytes), uint64(p.CreatedAt.UnixMicro()))
	cursor := base64.RawURLEncoding.EncodeToString(append(raw, p.ID[:]...))
	return &cursor
}

// page makes one page of rows that are small. The caller reads one row more than the
// limit, which tells whether there is a next page.
func page[R, T any](p *Paging, rows []R, place func(R) (time.Time, [16]byte), show func(R) T) *body[list[T]] {
	return pageTo(p, rows, subscribers.Place{}, place, show)
}

// boundedPage is page for rows that may be large, of which only so many bytes are read:
// more says that others come after the last one.
func boundedPage[R, T any](p *Paging, rows []R, more bool, place func(R) (time.Time, [16]byte), show func(R) T) *body[list[T]] {
	var end subscribers.Place
	if more {
		end.CreatedAt, end.ID = place(rows[len(rows)-1])
	}
	return pageTo(p, rows, end, place, show)
}

// pageTo is page for a list that can stop before it has enough rows: end is
// where it stopped, zero where it did not.
func pageTo[R, T any](p *Paging, rows []R, end subscribers.Place, place func(R) (time.Time, [16]byte), show func(R) T) *body[list[T]] {
	out, _ := cut(p, rows, end, place, show)
	return reply(out)
}

// searched is one page of a list that searches.
type searched[T any] struct {
	Data          []T        `json:"data"`
	NextCursor    *string    `json:"next_cursor" doc:"The cursor of the next page; null on the last page."`
	SearchedUntil *time.Time `json:"searched_until" doc:"How far back the list has been searched: the pages so far have all that was created after this time; null on the last page."`
}

// searchedTo is pageTo for a list that tells how far it has searched.
func searchedTo[R, T any](p *Paging, rows []R, end subscribers.Place, place func(R) (time.Time, [16]byte), show func(R) T) *body[searched[T]] {
	out, end := cut(p, rows, end, place, show)
	answer := searched[T]{Data: out.Data, NextCursor: out.NextCursor}
	if !end.CreatedAt.IsZero() {
		answer.SearchedUntil = &end.CreatedAt
	}
	return reply(answer)
}

// cut makes one page, and returns the place where it ends; zero on the last page.
func cut[R, T any](p *Paging, rows []R, end subscribers.Place, place func(R) (time.Time, [16]byte), show func(R) T) (list[T], subscribers.Place) {
	out := list[T]{Data: make([]T, 0, min(len(rows), p.Limit))}
	if len(rows) > p.Limit {
		rows = rows[:p.Limit]
		end.CreatedAt, end.ID = place(rows[p.Limit-1])
	}
	for _, r := range rows {
		out.Data = append(out.Data, show(r))
	}
	out.NextCursor = cursorOf(end)
	return out, end
}

// namedPage reads a page of a list that is sorted by a name, so that its cursor is
// a name. read returns up to limit rows whose names come after a name, and whether it has
// left rows out that come after them.
func namedPage[R, T any](p *Paging, name func(T) string, show func(R) T, read func(after string, limit int) ([]R, bool, error)) (*body[list[T]], error) {
	after, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || input.Text(string(after)) != "" {
		return nil, fault("query.cursor", "is not a cursor of this list")
	}
	found, more, err := read(string(after), p.Limit+1)
	if err != nil {
		return nil, err
	}
	out := list[T]{Data: make([]T, 0, len(found))}
	for _, row := range found[:min(len(found), p.Limit)] {
		out.Data = append(out.Data, show(row))
	}
	if more || len(found) > p.Limit {
		next := base64.RawURLEncoding.EncodeToString([]byte(name(out.Data[len(out.Data)-1])))
		out.NextCursor = &next
	}
	return reply(out), nil
}
