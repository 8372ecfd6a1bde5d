package erasure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

// library is where raw mails are read.
type library struct {
	pool  *pgxpool.Pool
	blobs blobs.Store // nil: there is no blob store
}

// searchMails searches the next raw mails of which the events lack addresses, and saves what it found. A mail may be in
// the blob store, which only some processes have.
func (l library) searchMails(ctx context.Context, e *work) error {
	list, err := searched(ctx, l.pool, e.id, itemUnsure, mailsAtOnce)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		e.enter(phaseHits, 0)
		return e.save(ctx, l.pool)
	}
	mails := make(map[events.MessageID]mailbox.Message, len(list))
	b := &pgx.Batch{}
	var ids []events.MessageID
	var created []time.Time
	for _, u := range list {
		ids, created = append(ids, u.message), append(created, u.createdAt)
	}
	mailbox.QueueFind(b, ids, created, mails)
	if err := l.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("look up mails to search: %w", err)
	}
	results := map[string][]events.ID{}
	for _, u := range list {
		result := itemMiss
		m, known := mails[u.message]
		named, whole, err := false, false, error(nil)
		if known && m.TenantID == e.tenant {
			named, whole, err = l.search(ctx, e.address, m.Raw, u.lacks)
		}
		switch {
		case err != nil:
			return fmt.Errorf("search the mail of event %s: %w", u.event, err)
		case named:
			result = itemHit
		case !whole:
			e.notSearched++
		}
		results[result] = append(results[result], u.event)
	}
	return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		for kind, ids := range results {
			if err := mark(ctx, tx, e.id, kind, ids); err != nil {
				return err
			}
		}
		return e.save(ctx, tx)
	})
}

// search reports whether a raw mail names an address, and whether it holds all from which the event was cut.
func (l library) search(ctx context.Context, address string, raw mailbox.Raw, lacks []string) (named, whole bool, err error) {
	matcher := mailsearch.New(mailsearch.Terms{Involves: address})
	report := slices.Contains(lacks, "bounce") || slices.Contains(lacks, "complaint") // it is in the body
	var text []byte
	if report {
		text, err = raw.Whole(ctx, l.pool, l.blobs)
	} else {
		text, err = l.headerOf(ctx, raw)
	}
	var broken *mailbox.BlobError
	if errors.Is(err, mailbox.ErrGone) || errors.As(err, &broken) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	m := mailparse.ParseWhole(ctx, text)
	if err := ctx.Err(); err != nil {
		return false, false, context.Cause(ctx)
	}
	// No raw mail has the recipients of the envelope.
	whole = !m.Over && !(report && m.Incomplete) && !slices.Contains(lacks, "envelope")
	return names(matcher, m), whole, nil
}

// names reports whether a mail names the address in a field or as what it reports about.
func names(matcher mailsearch.Matcher, m *mailparse.Mail) bool {
	for _, f := range m.Header {
		if matcher.MatchField(f.Name, mailparse.Text(f.Value)) {
			return true
		}
	}
	// As a mail program reads them: with what stands within an address.
	lists := [][]mailparse.Address{m.From, m.To, m.Cc, m.ReplyTo}
	if m.Sender != nil {
		lists = append(lists, []mailparse.Address{*m.Sender})
	}
	if m.Resent != nil {
		lists = append(lists, m.Resent.From, m.Resent.To)
	}
	for _, list := range lists {
		if slices.ContainsFunc(list, func(a mailparse.Address) bool { return matcher.MatchAddress(a.Address) || matcher.MatchAddress(a.Name) }) {
			return true
		}
	}
	return m.Report != nil && slices.ContainsFunc(m.Report.Recipients, func(r mailparse.ReportRecipient) bool { return matcher.MatchAddress(r.Recipient) })
}

// headerOf reads a raw mail up to the end of its header, or until that is too long to be read.
func (l library) headerOf(ctx context.Context, raw mailbox.Raw) ([]byte, error) {
	r, err := raw.Open(ctx, l.pool, l.blobs)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []byte
	for len(out) <= mailparse.MaxHeaderBytes {
		chunk, err := r.Next(ctx)
		if err != nil {
			if len(out) == int(raw.Size) {
				return out, nil // all is header
			}
			return nil, err
		}
		from := max(0, len(out)-2) // a line may end with the chunk
		out = append(out, chunk...)
		for _, end := range []string{"\n\r\n", "\n\n"} {
			if i := bytes.Index(out[from:], []byte(end)); i >= 0 {
				return out[:from+i+len(end)], nil
			}
		}
	}
	return out, nil
}
