package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
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

// conversation is the tenant's name for the mail's thread: that of the first
// mail that References names, else of the one that this one answers, else of
// this one.
func (p *parsed) conversation(tenant events.TenantID, own events.MessageID) string {
	root := firstID(p.header.get("References"))
	if root == "" {
		root = firstID(p.header.get("In-Reply-To"))
	}
	if root == "" {
		root = p.messageID
	}
	if root == "" {
		root = own.String()
	}
	sum := sha256.New()
	writeSized(sum, "conversation")
	sum.Write(tenant[:])
	writeSized(sum, root)
	return "conv_" + hex.EncodeToString(sum.Sum(nil)[:16])
}

// firstID gives the first <…> of a field without its brackets, or its first
// word where there are none.
func firstID(v string) string {
	if _, after, ok := strings.Cut(v, "<"); ok {
		if id, _, ok := strings.Cut(after, ">"); ok {
			return strings.TrimSpace(id)
		}
	}
	if words := strings.Fields(v); len(words) > 0 {
		return strings.Trim(words[0], "<>")
	}
	return ""
}
