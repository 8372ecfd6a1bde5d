package outbox

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

// A search key is an hour and a hash: rows that are inserted together are neighbours in the index, whatever they hash.
// The function fanmail.search_key makes it in the database, of the event's creation time there.
const (
	keyBits   = 40
	keyPeriod = time.Hour
)

// keyOf returns the hash of a search key; 0 for no text, and for no other.
func keyOf(tenant events.TenantID, kind, text string) int64 {
	if text == "" {
		return 0
	}
	b := make([]byte, 0, 128)
	b = append(append(append(b, tenant[:]...), kind...), 0)
	sum := sha256.Sum256(append(b, text...))
	return max(1, int64(binary.BigEndian.Uint64(sum[:8])>>(64-keyBits)))
}

func messageKeyOf(tenant events.TenantID, id string) int64 { return keyOf(tenant, "message", id) }

func headerKeyOf(tenant events.TenantID, id string) int64 {
	return keyOf(tenant, "header", mailsearch.MessageID(id))
}

// receivedKey is the idempotency key of a mail that was received: its event is found by its id.
const receivedKey = "mail:"

// searchKeys returns the hashes by which an event is found.
func searchKeys(ev *events.Event) (message, header int64) {
	if ev.Type != events.EmailReceived || ev.IdempotencyKey != receivedKey+ev.MessageID {
		message = messageKeyOf(ev.TenantID, ev.MessageID)
	}
	return message, headerKeyOf(ev.TenantID, mailsearch.HeaderOf(ev.Data))
}

// keysAt returns the search keys of a hash in the hours from since up to, but not including, until, newest first, with
// the bounds of each hour. There are most at most.
func keysAt(hash int64, since, until time.Time, most int) (keys []int64, from, to []time.Time) {
	for end := until; end.After(since) && len(keys) < most; {
		start := end.Add(-1).Truncate(keyPeriod)
		if start.Before(since) {
			start = since
		}
		hour := start.Unix() / int64(keyPeriod/time.Second)
		keys, from, to = append(keys, hour<<keyBits|hash), append(from, start), append(to, end)
		end = start
	}
	return keys, from, to
}
