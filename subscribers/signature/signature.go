package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The headers of a signed POST, in the canonical form of [net/http].
const (
	// HeaderE2A has the time and the signatures of the first scheme.
	HeaderE2A = "X-E2a-Signature"
	// HeaderID is the event's id. It is the same at every attempt.
	HeaderID = "Webhook-Id"
	// HeaderTimestamp is the time of the attempt in Unix seconds.
	HeaderTimestamp = "Webhook-Timestamp"
	// HeaderSignature has the signatures of the Standard Webhooks scheme.
	HeaderSignature = "Webhook-Signature"
)

// SecretPrefix begins a signing secret that Fanmail has made. 32 random bytes in base64
// follow.
const SecretPrefix = "whsec_"

// DefaultTolerance is how far the signed time may be from the verifier's time, in
// either direction.
const DefaultTolerance = 5 * time.Minute

// NewSecret returns a new random signing secret.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return SecretPrefix + base64.StdEncoding.EncodeToString(b[:])
}

// Signer signs with one secret, or with several during a rotation, and with the private
// keys that it has. It is safe for concurrent use. Its zero value is not usable; see
// [NewSigner].
type Signer struct {
	keys    []key
	private []ed25519.PrivateKey
}

type key struct{ e2a, standard *sync.Pool }

// NewSigner returns a signer for the secrets, the new one first. A secret that begins
// with [PrivatePrefix] is an Ed25519 key; see [NewKeyPair]. Empty secrets are left out.
// It returns an error if no secret is left but private keys, and [ErrSecret] if a key
// can't be read.
func NewSigner(secrets ...string) (*Signer, error) {
	s := &Signer{}
	for _, secret := range secrets {
		switch {
		case secret == "":
		case strings.HasPrefix(secret, PrivatePrefix):
			private, err := privateKey(secret)
			if err != nil {
				return nil, err
			}
			s.private = append(s.private, private)
		case strings.HasPrefix(secret, PublicPrefix):
			return nil, ErrSecret
		default:
			s.keys = append(s.keys, key{e2a: macs([]byte(secret)), standard: macs(decode(secret))})
		}
	}
	if len(s.keys) == 0 {
		return nil, errors.New("make a signer: there is no signing secret")
	}
	return s, nil
}

// decode returns the key of the Standard Webhooks scheme: the bytes that follow
// "whsec_" in base64, or the whole secret if it has another form.
func decode(secret string) []byte {
	if rest, ok := strings.CutPrefix(secret, SecretPrefix); ok {
		if raw, err := base64.StdEncoding.DecodeString(rest); err == nil && len(raw) > 0 {
			return raw
		}
	}
	return []byte(secret)
}

// state is a keyed hash with buffers for the text before the body and for the sum, so
// that signing allocates neither.
type state struct {
	h    hash.Hash
	head []byte
	sum  [sha256.Size]byte
}

// macs returns a pool of states with the key.
func macs(k []byte) *sync.Pool {
	return &sync.Pool{New: func() any { return &state{h: hmac.New(sha256.New, k)} }}
}

// Sign sets the four signature headers of a POST: of this body, sent at t, with the
// event's id. It replaces earlier values.
func (s *Signer) Sign(h http.Header, id string, t time.Time, body []byte) {
	ts := strconv.FormatInt(t.Unix(), 10)
	e2a := append(make([]byte, 0, 16+len(s.keys)*68), "t="...)
	e2a = append(e2a, ts...)
	standard := make([]byte, 0, len(s.keys)*48+len(s.private)*96)
	for i, k := range s.keys {
		e2a = append(e2a, ",v1="...)
		sum := mac(k.e2a, "", ts, body)
		e2a = hex.AppendEncode(e2a, sum[:])
		if i > 0 {
			standard = append(standard, ' ')
		}
		standard = append(standard, "v1,"...)
		sum = mac(k.standard, id, ts, body)
		standard = base64.StdEncoding.AppendEncode(standard, sum[:])
	}
	if len(s.private) > 0 {
		standard = s.appendAsymmetric(standard, id, ts, body)
	}
	values := [4]string{string(e2a), id, ts, string(standard)}
	h[HeaderE2A] = values[0:1:1]
	h[HeaderID] = values[1:2:2]
	h[HeaderTimestamp] = values[2:3:3]
	h[HeaderSignature] = values[3:4:4]
}

// appendAsymmetric appends a v1a signature by each private key.
func (s *Signer) appendAsymmetric(to []byte, id, ts string, body []byte) []byte {
	text := signedText(id, ts, body)
	for _, key := range s.private {
		to = append(to, " v1a,"...)
		to = base64.StdEncoding.AppendEncode(to, ed25519.Sign(key, text))
	}
	return to
}

func signedText(id, ts string, body []byte) []byte {
	text := make([]byte, 0, len(id)+len(ts)+2+len(body))
	text = append(append(text, id...), '.')
	text = append(append(text, ts...), '.')
	return append(text, body...)
}

// mac returns the MAC over "id.ts.body", or over "ts.body" if id is empty.
func mac(pool *sync.Pool, id, ts string, body []byte) (sum [sha256.Size]byte) {
	m := pool.Get().(*state)
	defer pool.Put(m)
	m.head = m.head[:0]
	if id != "" {
		m.head = append(append(m.head, id...), '.')
	}
	m.head = append(append(m.head, ts...), '.')
	m.h.Reset()
	_, _ = m.h.Write(m.head)
	_, _ = m.h.Write(body)
	m.h.Sum(m.sum[:0])
	return m.sum
}

// The reasons for which [Verify] refuses a request.
var (
	// ErrMissing means that the request has no signature, or that one lacks its id or
	// a valid time.
	ErrMissing = errors.New("the request has no signature, or one without its id or time")
	// ErrMismatch means that the secret, the id, the time or the body is not the one
	// that was signed.
	ErrMismatch = errors.New("no signature matches the secret and the body")
	// ErrExpired means that the signed time is outside the tolerance. Check the clock
	// of the receiver.
	ErrExpired = errors.New("the signature's time is outside the tolerance")
)

// Verify checks the headers and the exact body of a request against a secret, or
// against the public key of an Ed25519 pair. The signed time must be within tolerance
// of now; a tolerance of zero or less means [DefaultTolerance]. With a secret, both
// schemes must match if both are present. With a public key, one of the v1a signatures
// of webhook-signature must match.
//
// It returns nil if the request is authentic. Otherwise it returns an error that wraps
// [ErrMissing], [ErrMismatch], [ErrExpired], or, for a bad secret, [ErrSecret].
func Verify(secret string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	e2a, standard := h.Get(HeaderE2A), h.Get(HeaderSignature)
	switch {
	case strings.HasPrefix(secret, PublicPrefix):
		return verifyAsymmetric(secret, h, standard, body, now, tolerance)
	case secret == "", strings.HasPrefix(secret, PrivatePrefix):
		return ErrSecret
	}
	if e2a == "" && standard == "" {
		return ErrMissing
	}
	if e2a != "" {
		if err := verifyE2A(secret, e2a, body, now, tolerance); err != nil {
			return fmt.Errorf("X-E2A-Signature: %w", err)
		}
	}
	if standard != "" {
		if err := verifyStandard(decode(secret), h, standard, body, now, tolerance); err != nil {
			return fmt.Errorf("webhook-signature: %w", err)
		}
	}
	return nil
}

func verifyE2A(secret, header string, body []byte, now time.Time, tolerance time.Duration) error {
	var ts string
	var sums [][]byte
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			ts = value
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	if err := within(ts, now, tolerance); err != nil {
		return err
	}
	want := mac(macs([]byte(secret)), "", ts, body)
	return anyEqual(sums, want[:])
}

func verifyStandard(raw []byte, h http.Header, header string, body []byte, now time.Time, tolerance time.Duration) error {
	ts, id := h.Get(HeaderTimestamp), h.Get(HeaderID)
	if id == "" {
		return ErrMissing
	}
	if err := within(ts, now, tolerance); err != nil {
		return err
	}
	want := mac(macs(raw), id, ts, body)
	return anyEqual(signaturesOf(header, "v1"), want[:])
}

// signaturesOf returns the signatures of a version in the header of Standard Webhooks.
func signaturesOf(header, version string) [][]byte {
	var sums [][]byte
	for part := range strings.FieldsSeq(header) {
		if v, value, _ := strings.Cut(part, ","); v == version {
			if sum, err := base64.StdEncoding.DecodeString(value); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	return sums
}

func verifyAsymmetric(public string, h http.Header, header string, body []byte, now time.Time, tolerance time.Duration) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, PublicPrefix))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return ErrSecret
	}
	ts, id := h.Get(HeaderTimestamp), h.Get(HeaderID)
	sums := signaturesOf(header, "v1a")
	if id == "" || len(sums) == 0 {
		return fmt.Errorf("webhook-signature: %w", ErrMissing)
	}
	if err := within(ts, now, tolerance); err != nil {
		return fmt.Errorf("webhook-signature: %w", err)
	}
	text := signedText(id, ts, body)
	for _, sum := range sums {
		if len(sum) == ed25519.SignatureSize && ed25519.Verify(key, text, sum) {
			return nil
		}
	}
	return fmt.Errorf("webhook-signature: %w", ErrMismatch)
}

// within checks a time in Unix seconds.
func within(ts string, now time.Time, tolerance time.Duration) error {
	unix, err := strconv.ParseInt(ts, 10, 64)
	if err != nil {
		return ErrMissing
	}
	if d := now.Sub(time.Unix(unix, 0)); d > tolerance || d < -tolerance {
		return ErrExpired
	}
	return nil
}

// anyEqual compares in constant time.
func anyEqual(sums [][]byte, want []byte) error {
	for _, sum := range sums {
		if hmac.Equal(sum, want) {
			return nil
		}
	}
	return ErrMismatch
}
