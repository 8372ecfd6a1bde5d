package signature

import (
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

// SecretPrefix begins every signing secret. 32 random bytes in base64 follow.
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

// Signer signs with one secret, or with several after rotations. It is safe for
// concurrent use. Its zero value is not usable; see [NewSigner].
type Signer struct{ keys []key }

type key struct{ e2a, standard *sync.Pool }

// NewSigner returns a signer for the secrets, the new one first. Empty secrets are
// left out. It returns an error if none is left, and [ErrSecret] if one does not have
// the form of a secret.
func NewSigner(secrets ...string) (*Signer, error) {
	s := &Signer{}
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		raw, err := decode(secret)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, key{e2a: macs([]byte(secret)), standard: macs(raw)})
	}
	if len(s.keys) == 0 {
		return nil, errors.New("make a signer: there is no signing secret")
	}
	return s, nil
}

// ErrSecret means that a secret is not "whsec_" followed by base64. Its text does not
// contain the secret.
var ErrSecret = errors.New("a signing secret is whsec_ followed by base64")

// decode returns the bytes that a secret encodes.
func decode(secret string) ([]byte, error) {
	rest, ok := strings.CutPrefix(secret, SecretPrefix)
	if !ok {
		return nil, ErrSecret
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil || len(raw) == 0 {
		return nil, ErrSecret
	}
	return raw, nil
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
	standard := make([]byte, 0, len(s.keys)*48)
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
	values := [4]string{string(e2a), id, ts, string(standard)}
	h[HeaderE2A] = values[0:1:1]
	h[HeaderID] = values[1:2:2]
	h[HeaderTimestamp] = values[2:3:3]
	h[HeaderSignature] = values[3:4:4]
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

// Verify checks the headers and the exact body of a request against a secret. The
// signed time must be within tolerance of now; a tolerance of zero or less means
// [DefaultTolerance]. If both schemes are present, both must match.
//
// It returns nil if the request is authentic. Otherwise it returns an error that wraps
// [ErrMissing], [ErrMismatch], [ErrExpired], or, for a bad secret, [ErrSecret].
func Verify(secret string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	raw, err := decode(secret)
	if err != nil {
		return err
	}
	e2a, standard := h.Get(HeaderE2A), h.Get(HeaderSignature)
	if e2a == "" && standard == "" {
		return ErrMissing
	}
	if e2a != "" {
		if err := verifyE2A(secret, e2a, body, now, tolerance); err != nil {
			return fmt.Errorf("X-E2A-Signature: %w", err)
		}
	}
	if standard != "" {
		if err := verifyStandard(raw, h, standard, body, now, tolerance); err != nil {
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
	var sums [][]byte
	for part := range strings.FieldsSeq(header) {
		if version, value, _ := strings.Cut(part, ","); version == "v1" {
			if sum, err := base64.StdEncoding.DecodeString(value); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	want := mac(macs(raw), id, ts, body)
	return anyEqual(sums, want[:])
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
