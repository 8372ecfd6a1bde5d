package mailbox

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The agent must be as it was when it was looked up. The lock of the Message-ID is free if no other transaction places a
// mail that names it; $7 is null for a mail without one.
const expectAgent = `
SELECT ` + pg.CloseGate + ` WHERE NOT pg_try_advisory_xact_lock($7) OR NOT EXISTS (
	SELECT FROM fanmail.agents WHERE address = $1 AND tenant_id = $2 AND allow_senders = $3 AND deny_senders = $4 AND require_dmarc = $5
	AND (webhook_url IS NOT NULL) = $6 AND NOT suspended)`

// The lock was taken by a statement before, so this one sees what its last holder has committed.
const noteNewMail = `
WITH noted AS (
	INSERT INTO fanmail.conversation_keys (bucket, tenant_id, mail, conversation)
	SELECT fanmail.bucket(now()), $1::uuid, $2::uuid, $2::uuid WHERE ` + pg.GateOpen + ` AND NOT EXISTS (
		SELECT FROM fanmail.conversation_keys WHERE tenant_id = $1 AND mail = $2 AND bucket >= fanmail.bucket(now()) - 1)
	ON CONFLICT DO NOTHING
	RETURNING mail
)
SELECT ` + pg.CloseGate + ` WHERE NOT EXISTS (SELECT FROM noted)`

// Lone is a mail with one message that names one Message-ID at most, as its beginning of a conversation. It can be
// inserted by a transaction of one round trip with a gate: run [Lone.QueueExpect], [Lone.QueueNote], and the others that
// write behind them. If the gate is closed in the end, something is not as expected, and the mail needs [Conversations].
type Lone struct {
	Tenant  events.TenantID
	Agent   string
	Senders SenderRules
	Hooked  bool   // the agent has a webhook of its own
	Named   string // the Message-ID; "" for none
}

// QueueExpect adds to a batch the statement that closes the gate if the agent is not as expected, or if another
// transaction holds the lock of the Message-ID.
func (l *Lone) QueueExpect(b *pgx.Batch) {
	var lock *int64
	if l.Named != "" {
		k := NewConversationKey(l.Tenant, l.Named)
		n := lockOf(k)
		lock = &n
	}
	b.Queue(expectAgent, l.Agent, l.Tenant, notNull(l.Senders.Allow), notNull(l.Senders.Deny), l.Senders.RequireDMARC, l.Hooked, lock)
}

// QueueNote adds to a batch the statement that makes the mail known as the first of its conversation. If it is known
// already, the gate is closed. It adds nothing for a mail without a Message-ID.
func (l *Lone) QueueNote(b *pgx.Batch) {
	if l.Named != "" {
		b.Queue(noteNewMail, l.Tenant, NewConversationKey(l.Tenant, l.Named))
	}
}

func lockOf(k ConversationKey) int64 {
	return int64(binary.BigEndian.Uint64(k[:8])) //nolint:gosec // any number will do
}

func notNull(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
