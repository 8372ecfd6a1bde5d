package importe2a

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// keyOf returns the id that an id of e2a has here. Its 32 hex digits stay; from a text of another form it is derived.
func keyOf[K events.Kind](text string) events.Key[K] {
	var kind K
	if k, err := events.Parse[K](kind.Prefix() + strings.TrimPrefix(text, kind.Prefix())); err == nil && !k.IsZero() && strings.ToLower(text) == text {
		return k
	}
	return derived[K](kind.Prefix(), text)
}

// derived returns the id of something that e2a names otherwise, or does not name.
func derived[K events.Kind](what, text string) (k events.Key[K]) {
	sum := sha256.Sum256([]byte("e2a\x00" + what + "\x00" + text))
	copy(k[:], sum[:])
	return k
}

// decodeHash returns the 32 bytes of a key's hash, or false.
func decodeHash(text string) ([]byte, bool) {
	b, err := hex.DecodeString(text)
	return b, err == nil && len(b) == sha256.Size
}
