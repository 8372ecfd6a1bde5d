package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// authored are the header fields that a mail's author wrote and that no relay
// changes. Together with the body they make a mail what it is.
var authored = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID",
	"In-Reply-To", "References", "Content-Type", "Content-Transfer-Encoding",
	"Content-Disposition", "Content-ID",
}

// fingerprint hashes the authored fields, white space aside (relays fold
// anew), and the body, the line ends at its end aside (transports add some).
func fingerprint(h header, body []byte) []byte {
	sum := sha256.New()
	for _, name := range authored {
		values := h.all(name)
		_ = binary.Write(sum, binary.BigEndian, int64(len(values))) // a hash takes everything
		for _, v := range values {
			writeSized(sum, strings.Join(strings.Fields(v), " "))
		}
	}
	end := len(body)
	for end > 0 && (body[end-1] == '\n' || body[end-1] == '\r') {
		end--
	}
	sum.Write(body[:end])
	return sum.Sum(nil)
}

func writeSized(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	_, _ = io.WriteString(h, s)
}

// identify gives the id of an agent's copy of a mail and its idempotency key.
//
// A Message-ID says which mail it is, and the fingerprint says that it tells
// the truth. Without one, a sending server that tries again sends the same
// bytes; they count as the same mail where a Date or Received field makes two
// equal mails unlikely. With neither, each is a mail of its own: to deliver
// twice is better than to lose one. The key is empty then.
func identify(tenant events.TenantID, agent string, p *parsed, raw []byte) (events.MessageID, string) {
	print := p.print
	if p.messageID == "" {
		if p.header.get("Date") == "" && p.header.get("Received") == "" {
			return events.NewRandom[events.MessageKind](), ""
		}
		sum := sha256.Sum256(raw)
		print = sum[:]
	}
	id := events.DeriveMessageID(tenant[:], []byte(agent), []byte(p.messageID), print)
	return id, "mail:" + id.String()
}
