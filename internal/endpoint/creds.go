package endpoint

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
)

// The two blocks of a .creds file.
const (
	jwtBlock  = "-----BEGIN NATS USER JWT-----"
	seedBlock = "-----BEGIN USER NKEY SEED-----"
)

// IsJWT reports whether credentials are the text of a .creds file, and not the seed of an nkey.
func IsJWT(credentials string) bool { return strings.Contains(credentials, jwtBlock) }

// NKey returns the key of credentials: the text of a .creds file, or a seed. The error shows nothing of them.
func NKey(credentials string) (nkeys.KeyPair, error) {
	key, err := nkeys.ParseDecoratedUserNKey([]byte(strings.TrimSpace(credentials)))
	if err != nil {
		return nil, errors.New("the credentials hold no seed of a user's nkey")
	}
	return key, nil
}

// CredsExpire returns when the JWT of a .creds file expires; zero if it never does, or can't be read.
func CredsExpire(credentials string) time.Time {
	if !IsJWT(credentials) {
		return time.Time{}
	}
	token, err := nkeys.ParseDecoratedJWT([]byte(credentials))
	if err != nil {
		return time.Time{}
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(body, &claims) != nil || claims.Expires <= 0 {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0).UTC()
}

// checkCreds looks for the two blocks of a .creds file, or for a seed. The broker judges what is in them.
func (a *Auth) checkCreds(now time.Time) error {
	if len(a.Credentials) > MaxKeyBytes {
		return fault("auth.credentials", "has %d bytes; the limit is %d", len(a.Credentials), MaxKeyBytes)
	}
	if !strings.Contains(a.Credentials, "-----BEGIN NATS") {
		if _, err := NKey(a.Credentials); err != nil {
			return fault("auth.credentials", "is neither the text of a .creds file, which has a line %s, nor the seed of a user's nkey, which begins with SU", jwtBlock)
		}
		return nil
	}
	for _, block := range []string{jwtBlock, seedBlock} {
		if !strings.Contains(a.Credentials, block) {
			return fault("auth.credentials", "has no line %s; give the text of a .creds file", block)
		}
	}
	if at := CredsExpire(a.Credentials); !at.IsZero() && now.After(at) {
		return fault("auth.credentials", "has expired on %s", at.Format(DateFormat))
	}
	return nil
}
