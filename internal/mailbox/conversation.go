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

// The present bucket of 30 days and the one before are read.
//
// It is a statement of its own, so that the next one sees what those committed who
// held the locks. Known mails need no lock: they never change.
const lockConversations = `
SELECT pg_advisory_xact_lock(lock) FROM (
	SELECT i.lock FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (tenant_id, mail, lock)
	WHERE NOT EXISTS (SELECT 1 FROM fanmail.conversation_keys AS k WHERE k.tenant_id = i.tenant_id AND k.mail = i.mail
		AND k.bucket >= fanmail.bucket(now()) - 1)
	ORDER BY i.lock
) AS new`

// The first of a tenant's mails, in the order given, that is known decides; if
// none is, the fallback does. All become known in the present bucket. The range
// of buckets has no end, for a transaction that began before the present one.
const placeMails = `
WITH input AS (
	SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS t (tenant_id, mail, fallback, n)
), present AS (
	SELECT fanmail.bucket(now()) AS bucket
), known AS (
	SELECT DISTINCT ON (i.n) i.n, k.bucket, k.conversation
	FROM input AS i JOIN fanmail.conversation_keys AS k ON k.tenant_id = i.tenant_id AND k.mail = i.mail
		AND k.bucket >= fanmail.bucket(now()) - 1
	ORDER BY i.n, k.bucket DESC
), chosen AS (
	SELECT DISTINCT ON (i.tenant_id) i.tenant_id, coalesce(k.conversation, i.fallback) AS conversation
	FROM input AS i LEFT JOIN known AS k ON k.n = i.n
	ORDER BY i.tenant_id, k.n
), noted AS (
	INSERT INTO fanmail.conversation_keys (bucket, tenant_id, mail, conversation)
	SELECT p.bucket, i.tenant_id, i.mail, coalesce(k.conversation, c.conversation)
	FROM input AS i CROSS JOIN present AS p JOIN chosen AS c ON c.tenant_id = i.tenant_id LEFT JOIN known AS k ON k.n = i.n
	WHERE k.bucket IS NULL OR k.bucket < p.bucket
	ORDER BY i.tenant_id, i.mail
	ON CONFLICT DO NOTHING
)
SELECT tenant_id, conversation FROM chosen`

// QueueConversation adds to a batch the statements that find a mail's
// conversation in each tenant, and puts it into chosen. named are the Message-IDs
// of the mail and of those that it answers, in the order in which they decide;
// the last one names the conversation if none is known. Nothing is added if named
// is empty. The batch must run in a transaction: a mail that names the same
// unknown mail waits for it to end.
func QueueConversation(b *pgx.Batch, named []string, tenants []events.TenantID, chosen map[events.TenantID]ConversationKey) {
	if len(named) == 0 {
		return
	}
	var (
		owners          []events.TenantID
		keys, fallbacks []ConversationKey
		locks           []int64
	)
	for _, tenant := range tenants {
		if slices.Contains(owners, tenant) {
			continue
		}
		root := NewConversationKey(tenant, named[len(named)-1])
		for _, id := range named {
			k := NewConversationKey(tenant, id)
			owners, keys, fallbacks = append(owners, tenant), append(keys, k), append(fallbacks, root)
			locks = append(locks, int64(binary.BigEndian.Uint64(k[:8]))) //nolint:gosec // any number will do
		}
	}
	b.Queue(lockConversations, owners, keys, locks)
	b.Queue(placeMails, owners, keys, fallbacks).Query(func(rows pgx.Rows) error {
		var tenant events.TenantID
		var conversation ConversationKey
		_, err := pgx.ForEachRow(rows, []any{&tenant, &conversation}, func() error {
			chosen[tenant] = conversation
			return nil
		})
		return err
	})
}
