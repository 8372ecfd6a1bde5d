package endpoint

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// The types of [Auth].
const (
	// Basic sends user name and password with each request (RFC 7617).
	Basic = "basic"
	// OAuth2 sends a bearer token of the client credentials grant (RFC 6749, 4.4).
	OAuth2 = "oauth2"
	// MTLS presents a client certificate in the TLS handshake.
	MTLS = "mtls"
	// Creds signs in to a NATS broker with a user's JWT and key, as a .creds file holds them, or with an nkey alone.
	Creds = "creds"
)

// Limits of credentials. An error that a limit causes names it.
const (
	// MaxCredentialBytes bounds a user name, a password, a client id and a client
	// secret.
	MaxCredentialBytes = 1024
	// MaxScopes bounds the scopes, and MaxScopeBytes each of them.
	MaxScopes     = 20
	MaxScopeBytes = 200
	// MaxPEMBytes bounds a certificate with its chain, and a CA. MaxKeyBytes bounds a private key.
	MaxPEMBytes = 64 << 10
	MaxKeyBytes = 8 << 10
	// MaxKeyBits bounds an RSA key that signs, and MaxCAKeyBits that of a certificate. A handshake with larger ones takes
	// seconds of a processor, whatever its time limit.
	MaxKeyBits   = 4096
	MaxCAKeyBits = 8192
)

// Auth are the credentials that an endpoint asks for. Which fields belong to which Type
// is said at each; others must be empty. A print of it shows the type alone.
type Auth struct {
	// Type is [Basic], [OAuth2], [MTLS] or [Creds].
	Type string `json:"type"`

	// Username and Password are those of basic.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// TokenURL, ClientID, ClientSecret and Scopes are those of oauth2.
	TokenURL     string   `json:"token_url,omitempty"`
	ClientID     string   `json:"client_id,omitempty"`
	ClientSecret string   `json:"client_secret,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`

	// Certificate, with its chain, and PrivateKey are those of mtls, in PEM.
	Certificate string `json:"certificate,omitempty"`
	PrivateKey  string `json:"private_key,omitempty"`

	// Credentials is that of creds: the text of a .creds file, or the seed of an nkey.
	Credentials string `json:"credentials,omitempty"`
}

// Format writes the type, whatever the verb: credentials are not printed.
func (a Auth) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "auth "+a.Type) }

// namedText is a field of [Auth] that is a text.
type namedText struct {
	name  string
	value *string
}

// texts returns the fields of a type, nil for an unknown type.
func (a *Auth) texts(kind string) []namedText {
	switch kind {
	case Basic:
		return []namedText{{"username", &a.Username}, {"password", &a.Password}}
	case OAuth2:
		return []namedText{{"token_url", &a.TokenURL}, {"client_id", &a.ClientID}, {"client_secret", &a.ClientSecret}}
	case MTLS:
		return []namedText{{"certificate", &a.Certificate}, {"private_key", &a.PrivateKey}}
	case Creds:
		return []namedText{{"credentials", &a.Credentials}}
	}
	return nil
}

// secrets returns the fields of the type that no read shows.
func (a *Auth) secrets() []namedText {
	return slices.DeleteFunc(a.texts(a.Type), func(f namedText) bool {
		return f.name != "password" && f.name != "client_secret" && f.name != "private_key" && f.name != "credentials"
	})
}

func (a *Auth) normalize(now time.Time, url func(field, raw string) (string, error)) error {
	own := a.texts(a.Type)
	if own == nil {
		return fault("auth.type", "is %.20q; it must be %q, %q, %q or %q", a.Type, Basic, OAuth2, MTLS, Creds)
	}
	for _, f := range own {
		if *f.value == "" && f.name != "password" {
			return fault("auth."+f.name, "is required for the type %q", a.Type)
		}
	}
	for _, kind := range []string{Basic, OAuth2, MTLS, Creds} {
		for _, f := range a.texts(kind) {
			if kind != a.Type && *f.value != "" {
				return fault("auth."+f.name, "belongs to the type %q, and the type is %q", kind, a.Type)
			}
		}
	}
	if a.Type != OAuth2 && len(a.Scopes) > 0 {
		return fault("auth.scopes", "belongs to the type %q, and the type is %q", OAuth2, a.Type)
	}
	switch a.Type {
	case Basic:
		return a.checkBasic()
	case OAuth2:
		return a.normalizeOAuth2(url)
	case Creds:
		return a.checkCreds(now)
	}
	return a.checkCertificate(now)
}

func (a *Auth) checkBasic() error {
	if strings.Contains(a.Username, ":") {
		return fault("auth.username", "holds a colon, which ends the user name")
	}
	return checkTexts(namedText{"username", &a.Username}, namedText{"password", &a.Password})
}

func (a *Auth) normalizeOAuth2(url func(field, raw string) (string, error)) error {
	normal, err := url("auth.token_url", a.TokenURL)
	if err != nil {
		return err
	}
	a.TokenURL = normal
	if err := checkTexts(namedText{"client_id", &a.ClientID}, namedText{"client_secret", &a.ClientSecret}); err != nil {
		return err
	}
	if len(a.Scopes) > MaxScopes {
		return fault("auth.scopes", "has %d scopes; the limit is %d", len(a.Scopes), MaxScopes)
	}
	for i, s := range a.Scopes {
		// RFC 6749, 3.3: printable ASCII but for quote and backslash.
		if s == "" || len(s) > MaxScopeBytes || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return fault(fmt.Sprintf("auth.scopes[%d]", i), "must be 1 to %d printable ASCII characters without spaces, quotes and backslashes", MaxScopeBytes)
		}
	}
	return nil
}

func checkTexts(list ...namedText) error {
	for _, f := range list {
		if len(*f.value) > MaxCredentialBytes {
			return fault("auth."+f.name, "has %d bytes; the limit is %d", len(*f.value), MaxCredentialBytes)
		}
		if !httpguts.ValidHeaderFieldValue(*f.value) || !utf8.ValidString(*f.value) {
			return fault("auth."+f.name, "holds a line break or another control character")
		}
	}
	return nil
}

// IsZero reports whether nothing is set.
func (a *Auth) IsZero() bool { return reflect.DeepEqual(*a, Auth{}) }
