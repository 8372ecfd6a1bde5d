package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

// maxNamed is how many Message-IDs place a mail in a conversation: its own, the
// nearest that it names, and the root.
const maxNamed = 20

// conversationKey stands for a mail in a tenant's table, and names the
// conversation that the mail begins.
type conversationKey [16]byte

func newConversationKey(tenant events.TenantID, mail string) (k conversationKey) {
	sum := sha256.New()
	writeSized(sum, "conversation")
	sum.Write(tenant[:])
	writeSized(sum, mail)
	copy(k[:], sum.Sum(nil))
	return k
}

// String is the conversation's name.
func (k conversationKey) String() string { return "conv_" + hex.EncodeToString(k[:]) }

// readConversation reads what places the mail in a conversation: named, the
// Message-IDs of which any may be known already, the mail's own first and then
// from the nearest to the root; and root, which names the conversation
// where none is known. Both are empty for a mail that has and names no id.
func (p *parsed) readConversation() {
	answered := namedIn(p.header.get("In-Reply-To"))
	references := namedIn(cutAt(p.header.get("References"), maxDecodedBytes))
	all := append([]string{p.messageID}, answered...)
	for _, id := range slices.Backward(references) {
		all = append(all, id)
	}
	switch {
	case len(references) > 0:
		p.root = references[0]
	case len(answered) > 0:
		p.root = answered[0]
	default:
		p.root = p.messageID
	}
	if p.root == "" {
		return
	}
	seen := map[string]bool{"": true, p.root: true}
	for _, id := range all {
		if len(p.named) == maxNamed-1 {
			break
		}
		if !seen[id] {
			seen[id] = true
			p.named = append(p.named, id)
		}
	}
	p.named = append(p.named, p.root)
}

// namedIn gives the Message-IDs of a field, as Message-ID is read. Of a field
// without brackets it takes what looks like ids and leaves words of prose.
func namedIn(v string) []string {
	list := ids(v)
	if !strings.Contains(v, "<") && len(list) > 1 {
		list = slices.DeleteFunc(list, func(w string) bool { return !strings.Contains(w, "@") })
	}
	for i := range list {
		list[i] = cutAt(list[i], maxIDBytes)
	}
	return list
}

// conversation is the tenant's name for the mail's thread as far as the header
// tells: that of the first mail that References names, else of the one that
// this one answers, else of this one.
func (p *parsed) conversation(tenant events.TenantID, own events.MessageID) string {
	if p.root == "" {
		return newConversationKey(tenant, own.String()).String()
	}
	return newConversationKey(tenant, p.root).String()
}

// In a statement of its own, so that the next one sees what those committed
// who had the locks. What is known needs none: it never changes.
const lockConversations = `
SELECT pg_advisory_xact_lock(lock) FROM (
	SELECT i.lock FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (tenant_id, mail, lock)
	WHERE NOT EXISTS (SELECT 1 FROM fanmail.conversation_keys AS k WHERE k.tenant_id = i.tenant_id AND k.mail = i.mail
		AND k.bucket >= floor(extract(epoch FROM now()) / 2592000)::integer - 1)
	ORDER BY i.lock
) AS new`

// The first of a tenant's mails, in the order given, that is known decides;
// where none is, the fallback does. All become known in the present bucket.
// Buckets are looked at without an end, for a transaction that began before
// the present one.
const placeMails = `
WITH input AS (
	SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS t (tenant_id, mail, fallback, n)
), present AS (
	SELECT floor(extract(epoch FROM now()) / 2592000)::integer AS bucket
), known AS (
	SELECT DISTINCT ON (i.n) i.n, k.bucket, k.conversation
	FROM input AS i JOIN fanmail.conversation_keys AS k ON k.tenant_id = i.tenant_id AND k.mail = i.mail
		AND k.bucket >= floor(extract(epoch FROM now()) / 2592000)::integer - 1
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

// place puts the mail's copies into the conversations that their tenants know
// it or the mails that it names by. Two mails that name the same unknown mail
// at the same time agree: the second waits for the first to be committed.
func place(ctx context.Context, tx pgx.Tx, named []string, copies []copied) error {
	if len(named) == 0 {
		return nil
	}
	var (
		tenants         []events.TenantID
		keys, fallbacks []conversationKey
		locks           []int64
	)
	for _, c := range copies {
		tenant := c.event.TenantID
		if slices.Contains(tenants, tenant) {
			continue
		}
		root := newConversationKey(tenant, named[len(named)-1])
		for _, id := range named {
			k := newConversationKey(tenant, id)
			tenants, keys, fallbacks = append(tenants, tenant), append(keys, k), append(fallbacks, root)
			locks = append(locks, int64(binary.BigEndian.Uint64(k[:8]))) //nolint:gosec // any number will do
		}
	}
	b := &pgx.Batch{}
	b.Queue(lockConversations, tenants, keys, locks)
	chosen := make(map[events.TenantID]conversationKey, 1)
	b.Queue(placeMails, tenants, keys, fallbacks).Query(func(rows pgx.Rows) error {
		var tenant events.TenantID
		var conversation conversationKey
		_, err := pgx.ForEachRow(rows, []any{&tenant, &conversation}, func() error {
			chosen[tenant] = conversation
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("find the mail's conversation: %w", err)
	}
	for i := range copies {
		copies[i].move(chosen[copies[i].event.TenantID].String())
	}
	return nil
}

// move makes the copy one of the conversation.
func (c *copied) move(conversation string) {
	if c.event.ConversationID == conversation {
		return
	}
	c.event.ConversationID, c.data.ConversationID = conversation, conversation
	c.event.Data = encode(c.data)
}
