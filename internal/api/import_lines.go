package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Limits of an export that is imported. An error that a limit causes names it.
const (
	// MaxImportLine bounds a line. The largest envelope fits, with each of its characters escaped.
	MaxImportLine = 2 << 20
	// MaxImportBytes bounds the whole.
	MaxImportBytes = 16 << 30
	// MaxImportSettings bounds the lines of event types, domains, agents and webhooks together.
	MaxImportSettings = 128 << 20
)

// LineError says what is wrong with which line of an export.
type LineError struct {
	Line int
	Err  error
}

// Error is "line 3: field: reason".
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// restoredWebhook is the data of a webhook's line. Its secrets may have been put into the file.
type restoredWebhook struct {
	Webhook
	SigningSecret string `json:"signing_secret,omitempty"`
}

// lined is an object with the number of its line.
type lined[T any] struct {
	line int
	data T
}

// importedEvent is an event with its message, if it has one.
type importedEvent struct {
	line  int
	event outbox.Imported
	mail  *mailbox.Message
}

// importFile is what a first reading of an export finds: everything but the events, which are read again.
type importFile struct {
	head     exportHead
	quota    *lined[quotaValues]
	types    []lined[shownType]
	domains  []lined[domain]
	agents   []lined[agent]
	webhooks []lined[restoredWebhook]
	events   int64
	messages int64
}

// importReader reads an export line by line. Its errors are [*LineError]s.
type importReader struct {
	in     *bufio.Reader
	to     events.TenantID
	now    time.Time
	file   importFile
	counts map[string]int64
	line   int
	bytes  int64
	kept   int64 // bytes of event types, domains, agents and webhooks
	order  int   // of the kind of the line before
	last   *importedEvent
	ended  bool
	// took is called with each event once its message is known; nil: nobody is told.
	took func(*importedEvent) error
}

var kindOrder = map[string]int{kindHead: 1, kindQuota: 2, kindType: 3, kindDomain: 4, kindAgent: 5, kindWebhook: 6, kindEvent: 7, kindMessage: 7, kindEnd: 8}

// readImport reads a whole export and checks what can be checked without the database. took is called with each event.
func readImport(from io.Reader, to events.TenantID, now time.Time, took func(*importedEvent) error) (*importFile, error) {
	r := &importReader{in: bufio.NewReaderSize(from, 64<<10), to: to, now: now, counts: map[string]int64{}, took: took}
	for {
		text, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.take(text)
		}
		if err == nil && r.bytes > MaxImportBytes {
			err = fmt.Errorf("the file is larger than %d bytes, which is the limit", int64(MaxImportBytes))
		}
		if stop, ok := errors.AsType[*stoppedError](err); ok {
			return nil, stop.err
		}
		if err != nil {
			return nil, &LineError{Line: r.line, Err: err}
		}
	}
	if !r.ended {
		return nil, &LineError{Line: r.line, Err: fmt.Errorf("the file ends here without a line of the kind %q: it was cut off, or is no export of Fanmail", kindEnd)}
	}
	return &r.file, nil
}

// next reads a line. It is valid until the next call.
func (r *importReader) next() ([]byte, error) {
	var whole []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if whole == nil {
			r.line++
		}
		r.bytes += int64(len(part))
		if len(whole)+len(part) > MaxImportLine {
			return nil, fmt.Errorf("is longer than %d bytes, which is the limit of a line", MaxImportLine)
		}
		switch {
		case err == nil && whole == nil:
			return bytes.TrimSuffix(part, []byte("\n")), nil
		case errors.Is(err, bufio.ErrBufferFull), err == nil, errors.Is(err, io.EOF) && len(whole)+len(part) > 0:
			whole = append(whole, part...)
			if !errors.Is(err, bufio.ErrBufferFull) {
				return bytes.TrimSuffix(whole, []byte("\n")), nil
			}
		case errors.Is(err, io.EOF):
			r.line--
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("read the file: %w", err)
		}
	}
}

// strictly decodes JSON in UTF-8 without unknown fields.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s", clip(strings.TrimPrefix(err.Error(), "json: ")))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more text follows the object")
	}
	return nil
}

func (r *importReader) take(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("is not UTF-8")
	}
	if events.Depth(text) > events.MaxDepth {
		return fmt.Errorf("nests deeper than %d objects and lists", events.MaxDepth)
	}
	var it struct {
		Kind string          `json:"kind"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &it); err != nil {
		return errors.New("is no JSON object with a kind; an export has one a line")
	}
	order, known := kindOrder[it.Kind]
	switch {
	case r.line == 1 && it.Kind != kindHead:
		return fmt.Errorf("kind: must be %q in the first line; is this an export of Fanmail?", kindHead)
	case !known:
		return fmt.Errorf("kind: is %q, which this version of Fanmail does not know", clip(it.Kind))
	case order < r.order || it.Kind == kindHead && r.line > 1 || it.Kind == kindQuota && r.order == order || r.ended:
		return fmt.Errorf("kind: %q has no place here; an export has the kinds in an order, and one head and one end", it.Kind)
	}
	r.order = order
	if it.Kind != kindMessage {
		if err := r.pass(); err != nil {
			return err
		}
	}
	if it.Kind == kindHead {
		return r.takeHead(text)
	}
	if it.Kind == kindEnd {
		return r.takeEnd(text)
	}
	r.counts[it.Kind]++
	if err := strictly(text, &exportLine[json.RawMessage]{}); err != nil {
		return err
	}
	return r.object(it.Kind, it.Data)
}

// object takes an object of the tenant.
func (r *importReader) object(kind string, data []byte) error {
	switch kind {
	case kindQuota:
		return one(r, data, func(q lined[quotaValues]) { r.file.quota = &q })
	case kindEvent:
		return r.takeEvent(data)
	case kindMessage:
		return r.takeMessage(data)
	}
	if r.kept += int64(len(data)); r.kept > MaxImportSettings {
		return fmt.Errorf("the event types, domains, agents and webhooks have more than %d bytes, which is the limit", MaxImportSettings)
	}
	switch kind {
	case kindType:
		return one(r, data, func(t lined[shownType]) { r.file.types = append(r.file.types, t) })
	case kindDomain:
		return one(r, data, func(d lined[domain]) { r.file.domains = append(r.file.domains, d) })
	case kindAgent:
		return one(r, data, func(a lined[agent]) { r.file.agents = append(r.file.agents, a) })
	default:
		return one(r, data, func(w lined[restoredWebhook]) { r.file.webhooks = append(r.file.webhooks, w) })
	}
}

func one[T any](r *importReader, data []byte, keep func(lined[T])) error {
	l := lined[T]{line: r.line}
	if err := strictly(data, &l.data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	keep(l)
	return nil
}

func (r *importReader) takeHead(text []byte) error {
	var h exportHead
	_ = json.Unmarshal(text, &h) // its format is looked at before its fields
	switch {
	case h.Format != exportFormat:
		return fmt.Errorf("format: must be %q; is this an export of Fanmail?", exportFormat)
	case h.Version != exportVersion:
		return fmt.Errorf("version: is %d; this version of Fanmail reads %d", h.Version, exportVersion)
	}
	return strictly(text, &r.file.head)
}

func (r *importReader) takeEnd(text []byte) error {
	var end exportEnd
	if err := strictly(text, &end); err != nil {
		return err
	}
	if !maps.Equal(end.Counts, r.counts) {
		return fmt.Errorf("counts: %v, but the file has %v lines: some are missing", end.Counts, r.counts)
	}
	r.ended = true
	r.file.events, r.file.messages = r.counts[kindEvent], r.counts[kindMessage]
	return nil
}

// pass tells took of the last event, whose message would have followed.
func (r *importReader) pass() error {
	last := r.last
	if last == nil || last.line == 0 {
		return nil
	}
	done := *last
	last.line = 0 // told
	if r.took == nil {
		return nil
	}
	if err := r.took(&done); err != nil {
		return &stoppedError{err}
	}
	return nil
}

// stoppedError is an error of the function that takes the events: it is not about the line that is read.
type stoppedError struct{ err error }

func (e *stoppedError) Error() string { return e.err.Error() }

func (r *importReader) takeEvent(data []byte) error {
	var e exportedEvent
	if err := strictly(data, &e); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	made, err := e.imported(r.to, r.now)
	if err != nil {
		return inData(err)
	}
	if r.last != nil {
		before := &r.last.event
		if c := made.CreatedAt.Compare(before.CreatedAt); c < 0 || c == 0 && bytes.Compare(made.ID[:], before.ID[:]) <= 0 {
			return errors.New("data.created_at: is before that of the event before, or the same event is there twice; events are sorted by created_at, then by id")
		}
	}
	r.last = &importedEvent{line: r.line, event: made}
	return nil
}

// inData names the place of a field in a line.
func inData(err error) error {
	if f, ok := errors.AsType[*events.FieldError](err); ok {
		return &events.FieldError{Field: "data." + f.Field, Reason: f.Reason}
	}
	return err
}

// imported checks an event as at the door, and returns it as an event of the tenant.
func (e *exportedEvent) imported(to events.TenantID, now time.Time) (made outbox.Imported, err error) {
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	at := e.CreatedAt.UTC()
	switch wrong := input.Time(at); {
	case e.ID.IsZero():
		return made, fault("id", "is required")
	case wrong != "":
		return made, fault("created_at", "%s", wrong)
	case at.After(now):
		return made, fault("created_at", "is in the future")
	case !at.Equal(at.Truncate(time.Microsecond)):
		return made, fault("created_at", "is more exact than a microsecond")
	case e.Mail != nil:
		return made, fault("mail", "is not a field of an export")
	case len(e.Envelope) > events.MaxEnvelopeBytes:
		return made, fault("envelope", "has %d bytes; the limit is %d", len(e.Envelope), events.MaxEnvelopeBytes)
	}
	ev := events.Event{TenantID: to, Type: events.Type(e.Type), AgentID: mailbox.Fold(orEmpty(e.AgentID)), ConversationID: orEmpty(e.ConversationID), Labels: e.Labels, MessageID: orEmpty(e.MessageID)}
	ev.Data = []byte("{}")
	if err := ev.Validate(); err != nil {
		return made, err
	}
	envelope := []byte(e.Envelope)
	ev.Data = envelope // an envelope of another form, as an import from e2a makes them
	if env, err := events.DecodeEnvelope(envelope); err == nil {
		if env.ID != e.ID || env.Type != ev.Type || !env.CreatedAt.Equal(at) {
			return made, fault("envelope", "has another id, type or created_at than the event")
		}
		ev.Data = env.Data
	}
	if err := ev.Validate(); err != nil {
		if f, ok := errors.AsType[*events.FieldError](err); ok && f.Field == "data" {
			return made, fault("envelope", "%s", f.Reason)
		}
		return made, err
	}
	return outbox.Imported{
		Envelope: envelope, MessageIDHeader: mailsearch.HeaderOf(ev.Data), Unlisted: !e.Replayed,
		Record: events.Record{ID: e.ID, TenantID: to, Type: ev.Type, CreatedAt: at, AgentID: ev.AgentID, ConversationID: ev.ConversationID, MessageID: ev.MessageID, Labels: ev.Labels},
	}, nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (r *importReader) takeMessage(data []byte) error {
	var m exportedMessage
	if err := strictly(data, &m); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if r.last == nil || r.last.line != r.line-1 {
		return errors.New("kind: a message must follow its event")
	}
	e := &r.last.event
	switch {
	case m.EventID != e.ID:
		return errors.New("data.event_id: is not the id of the event before")
	case m.ID.String() != e.MessageID:
		return errors.New("data.id: is not the message_id of the event before")
	case mailbox.Fold(m.AgentID) != e.AgentID || e.AgentID == "":
		return errors.New("data.agent_id: is not that of the event before")
	case !m.CreatedAt.Equal(e.CreatedAt):
		return errors.New("data.created_at: is not that of the event before")
	case m.Size < 0:
		return errors.New("data.size: is negative")
	}
	r.last.mail = &mailbox.Message{ID: m.ID, CreatedAt: e.CreatedAt, TenantID: r.to, AgentID: e.AgentID, EventID: e.ID, Raw: mailbox.Raw{Size: m.Size}}
	return nil
}
