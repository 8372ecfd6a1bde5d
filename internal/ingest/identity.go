package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// authored are the header fields that a mail's author wrote and that no relay
// changes. Together with the body they identify a mail.
var authored = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID",
	"In-Reply-To", "References", "Content-Type", "Content-Transfer-Encoding",
	"Content-Disposition", "Content-ID",
}

// resent are the fields that a person adds who sends a mail again to somebody else. It keeps its Message-ID, and is a
// mail of its own. Relays add none of them.
var resent = []string{"Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Date", "Resent-Message-ID"}

// fingerprint hashes the authored fields without their white space (relays fold
// again), and the body without the line ends at its end (transports add some).
func fingerprint(h mailparse.Header, body []byte) []byte {
	sum := sha256.New()
	for _, name := range authored {
		values := h.All(name)
		_ = binary.Write(sum, binary.BigEndian, int64(len(values))) // a hash takes everything
		for _, v := range values {
			writeSized(sum, strings.Join(strings.Fields(v), " "))
		}
	}
	for _, name := range resent {
		for _, v := range h.All(name) {
			writeSized(sum, name)
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

// identify returns the id of the copy of a mail for a recipient's address, and its idempotency key.
//
// A Message-ID names the mail, and the fingerprint verifies it. A sending server
// that retries a mail without a Message-ID sends the same bytes: they count as the
// same mail if a Date or Received field makes two equal mails unlikely. Without
// either, each is a mail of its own: a duplicate is better than a loss. Its key still
// keeps a transaction that is repeated from making a second event.
func identify(tenant events.TenantID, recipient string, p *parsed) (events.MessageID, string) {
	id := events.NewRandom[events.MessageKind]()
	if p.recognizable() {
		id = events.DeriveMessageID(tenant[:], []byte(recipient), []byte(p.messageID), p.print)
	}
	return id, "mail:" + id.String()
}

// recognizable reports whether the same mail, sent again, can be told from another one.
func (p *parsed) recognizable() bool {
	return p.messageID != "" || p.header.Get("Date") != "" || p.header.Get("Received") != ""
}
