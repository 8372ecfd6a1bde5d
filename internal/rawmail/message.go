package rawmail

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// Header fields of a raw mail. Only HeaderTo is required.
const (
	// HeaderFrom is the reverse path of MAIL FROM without brackets; empty for a bounce.
	HeaderFrom = "Fanmail-Mail-From"
	// HeaderTo is an address of RCPT TO without brackets, one field for each.
	HeaderTo = "Fanmail-Rcpt-To"
	// HeaderClient is the client's IP address, against which SPF is checked.
	HeaderClient = "Fanmail-Client-Ip"
	// HeaderHelo is the name that the client gave in HELO or EHLO.
	HeaderHelo = "Fanmail-Helo"
	// HeaderReceived is when the mail was received, as in RFC 3339.
	HeaderReceived = "Fanmail-Received-At"
	// HeaderMilters is what the milters said, as [milter.Encode] writes it; absent if none was asked.
	HeaderMilters = "Fanmail-Milters"
	// HeaderSum is the SHA-256 of the mail before milters changed it, in hex; absent if none did. A mail without a
	// Message-ID that is sent twice is recognised by it.
	HeaderSum = "Fanmail-Received-Sha256"
	// HeaderObject names the object that has the mail's bytes; the body is empty then.
	HeaderObject = "Fanmail-Object"
)

const (
	// MaxRecipients is the most recipients of one message.
	MaxRecipients = 1000
	// maxField is the length of a header value in bytes: that of a path with UTF-8.
	maxField = 1024
)

// Mail is a mail with its SMTP envelope.
type Mail struct {
	From   string
	To     []string
	Client netip.Addr // the zero value: not known
	Helo   string
	At     time.Time // when it was received
	Raw    []byte
	// Milters are what they said; nil if none was asked.
	Milters []email.Milter
	// Received is the SHA-256 of the mail before milters changed it; nil if none did.
	Received []byte
}

// encode returns the message of a mail, without its bytes.
func encode(subject string, m *Mail) *nats.Msg {
	msg := nats.NewMsg(subject)
	h := msg.Header
	h.Set(HeaderFrom, m.From)
	h[HeaderTo] = m.To
	if m.Client.IsValid() {
		h.Set(HeaderClient, m.Client.String())
	}
	h.Set(HeaderHelo, m.Helo)
	h.Set(HeaderReceived, m.At.UTC().Format(time.RFC3339Nano))
	if len(m.Milters) > 0 {
		h.Set(HeaderMilters, milter.Encode(m.Milters))
	}
	if m.Received != nil {
		h.Set(HeaderSum, hex.EncodeToString(m.Received))
	}
	return msg
}

// Decode returns the mail of a message, and the name of the object with its bytes; ""
// if they are in the message. An error says which field is wrong.
func Decode(subject string, h nats.Header, body []byte) (m Mail, object string, err error) {
	if err := stream.NoAnswer(h); err != nil {
		return m, "", err
	}
	node, ok := strings.CutPrefix(subject, stream.RawPrefix)
	if !ok || CheckNode(node) != nil {
		return m, "", fmt.Errorf("the subject is not %s<node>", stream.RawPrefix)
	}
	for _, name := range []string{HeaderFrom, HeaderTo, HeaderClient, HeaderHelo, HeaderReceived, HeaderSum, HeaderObject} {
		for _, value := range h[name] {
			if len(value) > maxField {
				return m, "", fmt.Errorf("%s has %d bytes; the limit is %d", name, len(value), maxField)
			}
		}
	}
	m = Mail{From: h.Get(HeaderFrom), To: h[HeaderTo], Helo: h.Get(HeaderHelo), Raw: body}
	switch n := len(m.To); {
	case n == 0:
		return m, "", errors.New(HeaderTo + " is missing: a mail needs at least one recipient")
	case n > MaxRecipients:
		return m, "", fmt.Errorf("%s has %d recipients; the limit is %d", HeaderTo, n, MaxRecipients)
	}
	if v := h.Get(HeaderClient); v != "" {
		if m.Client, err = netip.ParseAddr(v); err != nil {
			return m, "", errors.New(HeaderClient + " is not an IP address")
		}
	}
	if v := h.Get(HeaderReceived); v != "" {
		if m.At, err = time.Parse(time.RFC3339, v); err != nil {
			return m, "", errors.New(HeaderReceived + " is not a time of RFC 3339")
		}
	}
	if v := h.Get(HeaderMilters); v != "" {
		if m.Milters, err = milter.Decode(v); err != nil {
			return m, "", fmt.Errorf("%s %w", HeaderMilters, err)
		}
	}
	if v := h.Get(HeaderSum); v != "" {
		if m.Received, err = hex.DecodeString(v); err != nil || len(m.Received) != sha256.Size {
			return m, "", errors.New(HeaderSum + " is not a SHA-256 in hex")
		}
	}
	object = h.Get(HeaderObject)
	if object == "" && len(body) == 0 {
		return m, "", errors.New("the mail is empty")
	}
	return m, object, nil
}

// CheckNode returns an error for a name that can't be a node's: it is a part of a
// subject.
func CheckNode(node string) error {
	if node == "" || len(node) > 63 {
		return errors.New("must have 1 to 63 characters")
	}
	if strings.Trim(node, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return errors.New("must consist of letters, digits, - and _")
	}
	return nil
}
