package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// The prefixes of an Ed25519 key in the form of Standard Webhooks. Base64 follows.
const (
	// PrivatePrefix begins a private key.
	PrivatePrefix = "whsk_"
	// PublicPrefix begins a public key, which receivers verify with.
	PublicPrefix = "whpk_"
)

// ErrSecret means that a secret is empty, or a key of Ed25519 that can't be read. Its
// text does not contain the secret.
var ErrSecret = errors.New("a signing secret is a text that is not empty; a key of Ed25519 is whpk_ or whsk_ followed by base64")

// NewKeyPair returns a new Ed25519 key pair for the v1a signatures of Standard Webhooks.
func NewKeyPair() (private, public string) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil { // crypto/rand does not fail
		panic(fmt.Sprintf("make a key pair: %v", err))
	}
	return PrivatePrefix + base64.StdEncoding.EncodeToString(key), PublicPrefix + base64.StdEncoding.EncodeToString(pub)
}

// PublicKey returns the public key of a private key. The error is [ErrSecret].
func PublicKey(private string) (string, error) {
	key, err := privateKey(private)
	if err != nil {
		return "", err
	}
	return PublicPrefix + base64.StdEncoding.EncodeToString(key[ed25519.SeedSize:]), nil
}

// privateKey reads a private key: 64 bytes with the public key, or the seed of 32.
func privateKey(text string) (ed25519.PrivateKey, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, PrivatePrefix))
	if err != nil || !strings.HasPrefix(text, PrivatePrefix) || len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
		return nil, ErrSecret
	}
	// The seed decides: a public key that does not belong to it would give it away.
	return ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize]), nil
}
