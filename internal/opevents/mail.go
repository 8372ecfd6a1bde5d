package opevents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

const (
	// MailEvery is the least time between two mails about one webhook.
	MailEvery = 24 * time.Hour
	// MailLease is how long a claimed mail is its claimer's.
	MailLease = 5 * time.Minute
	// MailKeep is how long a mail waits for a relay. Then it is old news.
	MailKeep = 72 * time.Hour
	// maxFacts bounds the facts of a mail: the newest are kept.
	maxFacts = 10
)

// Fact is a part of a mail.
type Fact struct {
	ID   int64           `json:"id"` // grows with time
	Type events.Type     `json:"type"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data"` // events/operational has its type
}

// Mail is a mail about a webhook that is due, and claimed.
type Mail struct {
	WebhookID events.WebhookID
	TenantID  events.TenantID
	Facts     []Fact // oldest first; 1 to 10
	// Attempts is how often it was tried before.
	Attempts int

	lease time.Time // the end of the claim: who writes must still hold it
}

// Last returns the newest fact.
func (m *Mail) Last() Fact { return m.Facts[len(m.Facts)-1] }

// The facts of a webhook whose last mail was sent within a day wait until the day is
// over.
const addFact = `
INSERT INTO fanmail.alert_mails AS m (webhook_id, tenant_id, facts, due_at) VALUES ($1, $2, jsonb_build_array($3::jsonb), now())
ON CONFLICT (webhook_id) DO UPDATE SET
	facts = CASE WHEN jsonb_array_length(m.facts) >= $4 THEN m.facts - 0 ELSE m.facts END || excluded.facts,
	due_at = coalesce(m.due_at, greatest(now(), m.sent_at + make_interval(secs => $5)))`

// addToMails adds facts to the next mails of their webhooks.
func addToMails(ctx context.Context, tx pgx.Tx, facts []OperationalEvent) error {
	if len(facts) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	for _, f := range facts {
		var about struct {
			WebhookID events.WebhookID `json:"webhook_id"`
		}
		if err := json.Unmarshal(f.Data, &about); err != nil {
			return fmt.Errorf("read a fact of a mail: %w", err)
		}
		b.Queue(addFact, about.WebhookID, f.TenantID, Fact{ID: f.id, Type: f.Type, At: f.at.UTC(), Data: f.Data}, maxFacts, MailEvery.Seconds())
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("add facts to mails: %w", err)
	}
	return nil
}

// MailDue reports whether a mail is due.
func MailDue(ctx context.Context, db pg.DB) (due bool, err error) {
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.alert_mails WHERE due_at <= now())`).Scan(&due)
	if err != nil {
		return false, fmt.Errorf("look for mails that are due: %w", err)
	}
	return due, nil
}

// ClaimMail returns the mail that has been due for longest, nil if none is due. It is
// the caller's for [MailLease]: two callers never get the same one.
func ClaimMail(ctx context.Context, db pg.DB) (*Mail, error) {
	m := &Mail{}
	err := db.QueryRow(ctx, `UPDATE fanmail.alert_mails SET due_at = now() + make_interval(secs => $1)
		WHERE webhook_id = (SELECT webhook_id FROM fanmail.alert_mails WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING webhook_id, tenant_id, facts, attempts, due_at`, MailLease.Seconds()).Scan(&m.WebhookID, &m.TenantID, &m.Facts, &m.Attempts, &m.lease)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // nothing is due
	}
	if err != nil {
		return nil, fmt.Errorf("claim a mail: %w", err)
	}
	return m, nil
}

// Sent records that the mail was sent. Facts that came meanwhile wait for a day. It
// does nothing if the claim has ended.
func (m *Mail) Sent(ctx context.Context, db pg.DB) error {
	return m.done(ctx, db, true)
}

// Drop forgets the facts of the mail: nobody is to have it. It does nothing if the
// claim has ended.
func (m *Mail) Drop(ctx context.Context, db pg.DB) error {
	return m.done(ctx, db, false)
}

func (m *Mail) done(ctx context.Context, db pg.DB, sent bool) error {
	// The row's latest version says what is left: a fact may be added until this has its lock.
	_, err := db.Exec(ctx, `UPDATE fanmail.alert_mails AS m
		SET facts = jsonb_path_query_array(m.facts, '$[*] ? (@.id > $last)', jsonb_build_object('last', $3::bigint)), attempts = 0,
			sent_at = CASE WHEN $4 THEN now() ELSE m.sent_at END,
			due_at = CASE WHEN jsonb_path_exists(m.facts, '$[*] ? (@.id > $last)', jsonb_build_object('last', $3::bigint))
				THEN now() + make_interval(secs => CASE WHEN $4 THEN $5::float8 ELSE 0 END) END
		WHERE m.webhook_id = $1 AND m.due_at = $2`, m.WebhookID, m.lease, m.Last().ID, sent, MailEvery.Seconds())
	if err != nil {
		return fmt.Errorf("record a mail: %w", err)
	}
	return nil
}

// Later makes the mail due again after some time. It does nothing if the claim has
// ended.
func (m *Mail) Later(ctx context.Context, db pg.DB, after time.Duration) error {
	_, err := db.Exec(ctx, `UPDATE fanmail.alert_mails SET due_at = now() + make_interval(secs => $3), attempts = attempts + 1
		WHERE webhook_id = $1 AND due_at = $2`, m.WebhookID, m.lease, after.Seconds())
	if err != nil {
		return fmt.Errorf("put off a mail: %w", err)
	}
	return nil
}

// RetentionRules are those of alert_mails. Without a relay nobody claims mails: they are
// forgotten too.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("forget alert mails", `DELETE FROM fanmail.alert_mails WHERE webhook_id = ANY (ARRAY(
		SELECT webhook_id FROM fanmail.alert_mails
		WHERE due_at IS NULL AND sent_at < now() - make_interval(secs => $1) OR due_at < now() - make_interval(secs => $2)
			OR due_at IS NULL AND sent_at IS NULL
		LIMIT 1000 FOR UPDATE SKIP LOCKED))`, MailEvery.Seconds(), MailKeep.Seconds())}
}
