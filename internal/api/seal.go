package api

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

// seal encrypts what the server stores for one API key. Its keys are derived
// from the API key's secret, which the database does not hold. Whoever reads the
// table can open nothing, and another API key cannot either.
type seal struct {
	aead cipher.AEAD
	mac  []byte
}

// newSeal derives the keys from a secret of 32 random bytes.
func newSeal(secret string) (*seal, error) {
	derived, err := hkdf.Key(sha256.New, []byte(secret), nil, "fanmail stored responses", 64)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return &seal{aead: aead, mac: derived[32:]}, nil
}

// sum identifies a request. It is keyed: a plain hash would let a reader of the
// table guess a short secret in the request's body.
func (s *seal) sum(head, body []byte) []byte {
	h := hmac.New(sha256.New, s.mac)
	h.Write(head)
	h.Write(body)
	return h.Sum(nil)
}

// seal encrypts text and authenticates it together with about.
func (s *seal) seal(text, about []byte) []byte { return s.aead.Seal(nil, nil, text, about) } //nolint:gosec // the AEAD makes its nonces

// open decrypts what seal has returned for the same about.
func (s *seal) open(sealed, about []byte) ([]byte, error) {
	text, err := s.aead.Open(nil, nil, sealed, about)
	if err != nil {
		return nil, errors.New("it is not what this key has stored")
	}
	return text, nil
}

type sealKey struct{}

// sealOf is the seal of the request's API key. authenticate has made it.
func sealOf(ctx context.Context) *seal { return ctx.Value(sealKey{}).(*seal) }
