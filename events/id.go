package events

import (
	"crypto/rand"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Kind is the kind of object that an id identifies. It is the type parameter of [Key], so
// that ids of different kinds have different types.
type Kind interface {
	EventKind | WebhookKind | DeliveryKind | TenantKind | MessageKind | APIKeyKind | ReplayKind | PortalKind | ErasureKind
	Prefix() string
}

// The kinds of ids.
type (
	EventKind    struct{}
	WebhookKind  struct{}
	DeliveryKind struct{}
	TenantKind   struct{}
	MessageKind  struct{}
	APIKeyKind   struct{}
	ReplayKind   struct{}
	PortalKind   struct{}
	ErasureKind  struct{}
)

// Prefix returns the prefix of the kind's ids in text.
func (EventKind) Prefix() string    { return "evt_" }
func (WebhookKind) Prefix() string  { return "wh_" }
func (DeliveryKind) Prefix() string { return "whd_" }
func (TenantKind) Prefix() string   { return "ten_" }
func (MessageKind) Prefix() string  { return "msg_" }
func (APIKeyKind) Prefix() string   { return "key_" }
func (ReplayKind) Prefix() string   { return "rpl_" }
func (PortalKind) Prefix() string   { return "ptl_" }
func (ErasureKind) Prefix() string  { return "era_" }

// Key is an id of 16 bytes. In text it is the kind's prefix and 32 lower-case hex digits. In
// Postgres it is a uuid. The zero value means "none".
type Key[K Kind] [16]byte

// The ids of Fanmail. ID is the id of an event.
type (
	ID         = Key[EventKind]
	WebhookID  = Key[WebhookKind]
	DeliveryID = Key[DeliveryKind]
	TenantID   = Key[TenantKind]
	MessageID  = Key[MessageKind]
	APIKeyID   = Key[APIKeyKind]
	ReplayID   = Key[ReplayKind]
	PortalID   = Key[PortalKind]
	ErasureID  = Key[ErasureKind]
)

// NewID returns a random id whose first six bytes are the present Unix time in milliseconds.
// New ids are thus neighbours in an index.
func NewID() ID { return timed[EventKind](time.Now()) }

// NewRandom returns an id of 16 random bytes. The first bits of a webhook's id select its
// partition, so webhooks need random ones.
func NewRandom[K Kind]() Key[K] {
	var k Key[K]
	_, _ = rand.Read(k[:]) // never fails, see crypto/rand
	return k
}

func timed[K Kind](t time.Time) Key[K] {
	k := NewRandom[K]()
	putMillis(k[:], t)
	return k
}

// putMillis writes t's Unix milliseconds into the first six bytes of b.
func putMillis(b []byte, t time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli()))
	copy(b[:6], ms[2:])
}

// DeriveID returns the id of the event with this tenant, idempotency key and type.
func DeriveID(tenant TenantID, key string, typ Type) ID {
	return derive[EventKind]("event", tenant[:], []byte(key), []byte(typ))
}

// DeriveMessageID returns the id of a message that an agent received. Copies of one mail have
// equal parts and thus equal ids.
func DeriveMessageID(parts ...[]byte) MessageID {
	return derive[MessageKind]("message", parts...)
}

// DeriveDeliveryID returns the id of an event's delivery to a webhook. createdAt is the
// creation time of the event or, if replay is not zero, of the replay. It becomes the first
// six bytes of the id (Unix milliseconds, big-endian).
func DeriveDeliveryID(event ID, webhook WebhookID, replay ReplayID, createdAt time.Time) DeliveryID {
	var buf [48]byte
	copy(buf[:16], event[:])
	copy(buf[16:32], webhook[:])
	copy(buf[32:], replay[:])
	sum := sha256.Sum256(buf[:])
	var k DeliveryID
	copy(k[:], sum[:16])
	putMillis(k[:], createdAt)
	return k
}

func derive[K Kind](domain string, parts ...[]byte) Key[K] {
	h := sha256.New()
	h.Write([]byte(domain))
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	var k Key[K]
	copy(k[:], h.Sum(nil))
	return k
}

// CreatedAt returns the creation time in a delivery id, to the millisecond.
func CreatedAt(id DeliveryID) time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC() //nolint:gosec // 48 bits
}

// Parse parses the text form of an id of kind K. The error names the expected form.
func Parse[K Kind](s string) (Key[K], error) {
	var k Key[K]
	var kind K
	prefix := kind.Prefix()
	if len(s) != len(prefix)+32 || s[:len(prefix)] != prefix {
		return k, fmt.Errorf("%q is not an id of the form %s followed by 32 hex digits", clip(s, 64), prefix)
	}
	if _, err := hex.Decode(k[:], []byte(s[len(prefix):])); err != nil {
		return k, fmt.Errorf("%q is not an id of the form %s followed by 32 hex digits", clip(s, 64), prefix)
	}
	return k, nil
}

// ParseID parses the id of an event.
func ParseID(s string) (ID, error) { return Parse[EventKind](s) }

// IsZero reports whether the id is the zero id.
func (k Key[K]) IsZero() bool { return k == Key[K]{} }

// String returns the prefix and 32 hex digits.
func (k Key[K]) String() string { return string(k.append(nil)) }

func (k Key[K]) append(b []byte) []byte {
	var kind K
	b = append(b, kind.Prefix()...)
	return hex.AppendEncode(b, k[:])
}

// MarshalText returns the text form.
func (k Key[K]) MarshalText() ([]byte, error) { return k.append(nil), nil }

// UnmarshalText parses the text form.
func (k *Key[K]) UnmarshalText(b []byte) error {
	v, err := Parse[K](string(b))
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// UUID returns the 16 bytes of the id.
func (k Key[K]) UUID() [16]byte { return k }

// SetUUID sets the id to 16 bytes.
func (k *Key[K]) SetUUID(b [16]byte) { *k = b }

// Scan implements database/sql's Scanner for a uuid as 16 bytes or as text. NULL is the zero id.
func (k *Key[K]) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*k = Key[K]{}
		return nil
	case []byte:
		if len(v) == len(k) {
			copy(k[:], v)
			return nil
		}
		return k.scanText(string(v))
	case string:
		return k.scanText(v)
	}
	return fmt.Errorf("cannot read an id from a %T", src)
}

// scanText parses the text of a uuid, such as 00112233-4455-6677-8899-aabbccddeeff.
func (k *Key[K]) scanText(s string) error {
	var v Key[K]
	digits := strings.ReplaceAll(s, "-", "")
	if len(digits) == hex.EncodedLen(len(v)) {
		if _, err := hex.Decode(v[:], []byte(digits)); err == nil {
			*k = v
			return nil
		}
	}
	return fmt.Errorf("cannot read an id: %q is not a uuid", clip(s, 64))
}

// Value implements database/sql's Valuer with the text of a uuid, which every driver and every query mode of pgx accepts.
// The zero id is NULL.
func (k Key[K]) Value() (driver.Value, error) {
	if k.IsZero() {
		return nil, nil
	}
	b := make([]byte, 0, 36)
	for i, part := range [][]byte{k[:4], k[4:6], k[6:8], k[8:10], k[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b), nil
}
