package erasure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

const (
	// messagesAtOnce bounds the messages of one read of the stream.
	messagesAtOnce = 200
	// skew is how far the clocks of the broker and the database may differ.
	skew = 5 * time.Minute
	// stepTime bounds one step outside the database. The erasure is leased that long.
	stepTime = 30 * time.Second
)

// errNoBlobs means that a mail is in a blob store that this process does not have.
var errNoBlobs = errors.New("remove a blob: this process has no blob store; set that of ingest")

// outside is the half of a [Worker] that removes what is outside the database.
type outside struct {
	pool   *pgxpool.Pool
	js     jetstream.JetStream // nil: there is no broker
	blobs  blobs.Store         // nil: there is no blob store
	settle time.Duration
}

// lease claims an erasure for a step outside the database, which must hold no transaction open.
func (w *outside) lease(ctx context.Context) (*work, error) {
	var e *work
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) (err error) {
		if e, err = claim(ctx, tx, true, phaseMails, phaseStreams); err != nil || e == nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE fanmail.erasures SET due_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1`, e.id, (2 * stepTime).Seconds())
		return err
	})
	return e, err
}

// leave does one step of the phases outside the database, and reports whether there was one to do.
func (w *outside) leave(ctx context.Context) (bool, error) {
	e, err := w.lease(ctx)
	if err != nil || e == nil {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stepTime, fmt.Errorf("a step of an erasure took over %s", stepTime))
	defer cancel()
	if e.phase == phaseMails {
		err = library{w.pool, w.blobs}.searchMails(ctx, e)
	} else if err = w.step(ctx, e); err == nil {
		err = e.save(ctx, w.pool)
	}
	if err != nil {
		return true, errors.Join(fmt.Errorf("erasure %s: %w", e.id, err), postpone(context.WithoutCancel(ctx), w.pool, e.id))
	}
	return true, nil
}

// step removes a page of messages of MAIL_EVENTS and, when no message is left, the blobs.
func (w *outside) step(ctx context.Context, e *work) error {
	left, err := w.messages(ctx, e)
	if err != nil || left {
		return err
	}
	if err := w.deadLetters(ctx, e); err != nil {
		return err
	}
	if err := w.removeBlobs(ctx, e); err != nil {
		return err
	}
	e.enter(phaseItems, w.settle/4)
	return nil
}

// messages removes the next messages of erased events, and reports whether more may follow.
func (w *outside) messages(ctx context.Context, e *work) (left bool, err error) {
	if w.js == nil {
		return false, nil
	}
	var oldest time.Time
	if e.kind != Tenant {
		if oldest, err = oldestEvent(ctx, w.pool, e.id); err != nil || oldest.IsZero() {
			return false, err
		}
	}
	s, err := w.js.Stream(ctx, stream.Events)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w", stream.Events, err)
	}
	if e.kind == Tenant {
		return purge(ctx, s, e)
	}
	page := stream.Page{Stream: stream.Events, Subject: events.EventSubjects(e.tenant, nil), From: uint64(e.seq) + 1, Limit: messagesAtOnce} //nolint:gosec // not negative
	first, last, counted := counted(e)
	switch {
	case counted:
		page.From = first
	case e.seq == 0:
		page.Since = oldest.Add(-skew)
	}
	list, err := stream.Read(ctx, w.js, page)
	if err != nil || len(list) == 0 && !counted {
		return false, err
	}
	if counted {
		list = slices.DeleteFunc(list, func(m *jetstream.RawStreamMsg) bool { return m.Sequence > last })
	} else {
		first, last = list[0].Sequence, list[len(list)-1].Sequence
	}
	found, err := w.erased(ctx, e, list)
	switch {
	case err != nil:
		return false, err
	case len(found) > 0 && !counted:
		e.count("stream_messages", int64(len(found)))
		e.at = pg.Place{CreatedAt: e.requestedAt, ID: span(first, last)}
		return true, nil
	}
	for _, seq := range found {
		// The server overwrites its bytes.
		if err := s.SecureDeleteMsg(ctx, seq); err != nil && !gone(err) {
			return false, fmt.Errorf("remove message %d of stream %s: %w", seq, stream.Events, err)
		}
	}
	e.seq, e.at = int64(last), pg.Place{} //nolint:gosec // a stream does not reach 2^63 messages
	return true, nil
}

// counted returns the first and last sequence of a page of which the messages are counted and saved, and are removed now.
// A crash between the two counts none twice, and misses none.
func counted(e *work) (first, last uint64, is bool) {
	return binary.BigEndian.Uint64(e.at.ID[:8]), binary.BigEndian.Uint64(e.at.ID[8:]), e.at != pg.Place{}
}

// span holds two sequences in the place of an erasure.
func span(first, last uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], first)
	binary.BigEndian.PutUint64(id[8:], last)
	return id
}

// purge removes all messages of a tenant, and reports whether it is to be called again. They are counted and saved before
// they are removed, up to a sequence, so that a crash counts none twice. To overwrite each takes some 20 ms.
func purge(ctx context.Context, s jetstream.Stream, e *work) (left bool, err error) {
	subjects := events.EventSubjects(e.tenant, nil)
	if e.seq > 0 {
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(subjects), jetstream.WithPurgeSequence(uint64(e.seq)+1)); err != nil {
			return false, fmt.Errorf("remove a tenant's messages from stream %s: %w", stream.Events, err)
		}
		e.seq = 0
		return true, nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subjects))
	if err != nil {
		return false, fmt.Errorf("count a tenant's messages in stream %s: %w", stream.Events, err)
	}
	for _, n := range info.State.Subjects {
		e.count("stream_messages", int64(n)) //nolint:gosec // a stream does not reach 2^63 messages
	}
	if len(info.State.Subjects) == 0 {
		return false, nil
	}
	e.seq = int64(info.State.LastSeq) //nolint:gosec // as above
	return true, nil
}

// erased returns the sequences of those of the messages of which the events were erased.
func (w *outside) erased(ctx context.Context, e *work, list []*jetstream.RawStreamMsg) (found []uint64, err error) {
	of := make(map[events.ID][]uint64, len(list))
	var ids []events.ID
	for _, m := range list {
		if r, err := stream.DecodeEvent(m.Subject, m.Header); err == nil && r.TenantID == e.tenant {
			ids = append(ids, r.ID)
			of[r.ID] = append(of[r.ID], m.Sequence)
		}
	}
	rows, err := w.pool.Query(ctx, `SELECT id FROM fanmail.erased_items WHERE erasure_id = $1 AND id = ANY ($2::uuid[]) AND kind = 'event'`, e.id, ids)
	if err != nil {
		return nil, fmt.Errorf("look for erased events: %w", err)
	}
	var id events.ID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { found = append(found, of[id]...); return nil }); err != nil {
		return nil, fmt.Errorf("look for erased events: %w", err)
	}
	return found, nil
}

// gone reports whether the stream has no such message.
func gone(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeMessageNotFound || strings.Contains(refused.Description, "no message found"))
}

// oldestEvent returns when the oldest of the erased events was created; zero if there is none.
func oldestEvent(ctx context.Context, db pg.DB, of events.ErasureID) (time.Time, error) {
	var at *time.Time
	if err := db.QueryRow(ctx, `SELECT min(created_at) FROM fanmail.erased_items WHERE erasure_id = $1 AND kind = 'event'`, of).Scan(&at); err != nil {
		return time.Time{}, fmt.Errorf("look for erased events: %w", err)
	}
	if at == nil {
		return time.Time{}, nil
	}
	return *at, nil
}

// deadLetters removes the dead letters of a tenant that is erased.
func (w *outside) deadLetters(ctx context.Context, e *work) error {
	if w.js == nil || e.kind != Tenant {
		return nil
	}
	s, err := w.js.Stream(ctx, stream.Dead)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", stream.Dead, err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(events.DeadIntakePrefix+e.tenant.String())); err != nil {
		return fmt.Errorf("remove dead letters: %w", err)
	}
	return nil
}

// removeBlobs removes the blobs of erased raw mails. One that a row still names stays.
func (w *outside) removeBlobs(ctx context.Context, e *work) error {
	rows, err := w.pool.Query(ctx, `SELECT blob FROM fanmail.erased_items WHERE erasure_id = $1 AND blob IS NOT NULL`, e.id)
	if err != nil {
		return fmt.Errorf("look for blobs of erased mails: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for blobs of erased mails: %w", err)
	}
	for _, key := range keys {
		if w.blobs == nil {
			return errNoBlobs
		}
		removed, err := mailbox.RemoveBlob(ctx, w.pool, w.blobs, key)
		if err != nil {
			return err
		}
		if removed {
			e.count("blobs", 1)
		}
	}
	return nil
}
