package mailbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// ConversationKey stands for a mail in a tenant's table, and names the
// conversation that the mail begins.
type ConversationKey [16]byte

// NewConversationKey derives the key of a mail from its Message-ID, or from
// another id if it has none.
func NewConversationKey(tenant events.TenantID, mail string) (k ConversationKey) {
	const domain = "conversation"
	// Each text is preceded by its length, so that no two inputs hash alike.
	b := binary.BigEndian.AppendUint64(nil, uint64(len(domain)))
	b = append(append(b, domain...), tenant[:]...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(mail))), mail...)
	sum := sha256.Sum256(b)
	copy(k[:], sum[:])
	return k
}

// String is the conversation's name.
func (k ConversationKey) String() string { return "conv_" + hex.EncodeToString(k[:]) }

// The present bucket of 30 days and the one before are read. Known mails need no lock: they never change.
//
// Each is a statement of its own, so that the next one sees what those committed who held the locks. The first waits
// for locks that others hold, the second returns their keys.
const (
	lockMails = `
SELECT pg_advisory_xact_lock(lock) FROM (` + unknownMails + `) AS new`
	tryLockMails = `
SELECT tenant_id, mail FROM (
	SELECT tenant_id, mail, pg_try_advisory_xact_lock(lock) AS locked FROM (` + unknownMails + `) AS new
) AS tried WHERE NOT locked`
	unknownMails = `
	SELECT i.* FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (tenant_id, mail, lock)
	WHERE NOT EXISTS (SELECT 1 FROM fanmail.conversation_keys AS k WHERE k.tenant_id = i.tenant_id AND k.mail = i.mail
		AND k.bucket >= fanmail.bucket(now()) - 1)
	ORDER BY i.lock
`
)

// The range of buckets has no end, for a transaction that began before the present one.
const knownMails = `
SELECT DISTINCT ON (k.tenant_id, k.mail) k.tenant_id, k.mail, k.conversation, k.bucket < fanmail.bucket(now())
FROM unnest($1::uuid[], $2::uuid[]) AS i (tenant_id, mail)
JOIN fanmail.conversation_keys AS k ON k.tenant_id = i.tenant_id AND k.mail = i.mail AND k.bucket >= fanmail.bucket(now()) - 1
ORDER BY k.tenant_id, k.mail, k.bucket DESC`

const noteMails = `
INSERT INTO fanmail.conversation_keys (bucket, tenant_id, mail, conversation)
SELECT fanmail.bucket(now()), i.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS i (tenant_id, mail, conversation)
ORDER BY 2, 3
ON CONFLICT DO NOTHING`

// Conversations find the conversations of several mails in one transaction: add the mails, run
// [Conversations.QueueLock], place the mails in the order in which they count as received, and run
// [Conversations.QueueNote]. The zero value has no mail.
type Conversations struct {
	mails map[tenantMail]*placed
	order []tenantMail
}

type tenantMail struct {
	tenant events.TenantID
	mail   ConversationKey
}

// placed is what is known of a Message-ID.
type placed struct {
	conversation ConversationKey
	known        bool
	note         bool // to be written to the present bucket
	busy         bool // another transaction holds its lock
}

// Add adds a mail of the tenant. named are its Message-ID and those of the mails that it answers, at most one of each.
func (c *Conversations) Add(tenant events.TenantID, named []string) {
	for _, id := range named {
		k := tenantMail{tenant, NewConversationKey(tenant, id)}
		if c.mails == nil {
			c.mails = make(map[tenantMail]*placed, len(named))
		}
		if c.mails[k] == nil {
			c.mails[k] = &placed{}
			c.order = append(c.order, k)
		}
	}
}

// QueueLock adds to a batch the statements that lock the Message-IDs that nobody knows, and read the others. With wait
// it waits for the transactions that hold locks; without, [Conversations.Busy] tells which mails have to wait. It adds
// nothing if there is no Message-ID.
func (c *Conversations) QueueLock(b *pgx.Batch, wait bool) {
	if len(c.order) == 0 {
		return
	}
	owners, keys, locks := make([]events.TenantID, len(c.order)), make([]ConversationKey, len(c.order)), make([]int64, len(c.order))
	for i, k := range c.order {
		owners[i], keys[i] = k.tenant, k.mail
		locks[i] = lockOf(k.mail)
	}
	var k tenantMail
	if wait {
		b.Queue(lockMails, owners, keys, locks)
	} else {
		b.Queue(tryLockMails, owners, keys, locks).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&k.tenant, &k.mail}, func() error { c.mails[k].busy = true; return nil })
			return err
		})
	}
	b.Queue(knownMails, owners, keys).Query(func(rows pgx.Rows) error {
		var conversation ConversationKey
		var old bool
		_, err := pgx.ForEachRow(rows, []any{&k.tenant, &k.mail, &conversation, &old}, func() error {
			m := c.mails[k]
			m.conversation, m.known, m.note = conversation, true, old
			return nil
		})
		return err
	})
}

// Busy reports whether another transaction holds the lock of a Message-ID of the mail. The mail then cannot be placed.
func (c *Conversations) Busy(tenant events.TenantID, named []string) bool {
	return slices.ContainsFunc(named, func(id string) bool { return c.mails[tenantMail{tenant, NewConversationKey(tenant, id)}].busy })
}

// Place returns the conversation of a mail that was added: that of the first of its named Message-IDs that is known.
// The last one names the conversation if none is. ok is false if named is empty. All become known.
func (c *Conversations) Place(tenant events.TenantID, named []string) (_ ConversationKey, ok bool) {
	if len(named) == 0 {
		return ConversationKey{}, false
	}
	mails := make([]*placed, len(named))
	var chosen *placed
	for i, id := range named {
		mails[i] = c.mails[tenantMail{tenant, NewConversationKey(tenant, id)}]
		if chosen == nil && mails[i].known {
			chosen = mails[i]
		}
	}
	if chosen == nil {
		chosen = &placed{conversation: NewConversationKey(tenant, named[len(named)-1])}
	}
	for _, m := range mails {
		if !m.known {
			m.conversation, m.known, m.note = chosen.conversation, true, true
		}
	}
	return chosen.conversation, true
}

// QueueNote adds to a batch the statement that makes the placed mails known. It adds nothing if all are.
func (c *Conversations) QueueNote(b *pgx.Batch) {
	var owners []events.TenantID
	var keys, conversations []ConversationKey
	for _, k := range c.order {
		if m := c.mails[k]; m.note && !m.busy {
			owners, keys, conversations = append(owners, k.tenant), append(keys, k.mail), append(conversations, m.conversation)
		}
	}
	if len(owners) > 0 {
		b.Queue(noteMails, owners, keys, conversations)
	}
}
