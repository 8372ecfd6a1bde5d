package endpoint

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Mask stands for a secret in what is read. In a change it means that the secret stays
// as it is.
const Mask = "***"

// Settings are what the requests to an endpoint need beside its URL. The zero value
// adds nothing.
type Settings struct {
	// Headers are sent with every request, by canonical name. The values are secrets.
	Headers map[string]string `json:"headers,omitempty"`
	// Auth are credentials; nil: none.
	Auth *Auth `json:"auth,omitempty"`
	// CA holds certificates in PEM to trust beside the system's.
	CA string `json:"ca,omitempty"`
	// Subject is that of a NATS broker, to which messages are published; "": there is none.
	Subject string `json:"subject,omitempty"`
	// SigningKey is the private Ed25519 key that requests are signed with, in the form
	// of package signature; "": none. It is a secret.
	SigningKey string `json:"signing_key,omitempty"`
}

// IsZero reports whether the settings add nothing.
func (s *Settings) IsZero() bool {
	return len(s.Headers) == 0 && s.Auth == nil && s.CA == "" && s.Subject == "" && s.SigningKey == ""
}

// Sent reports whether something is sent or trusted beside the signature.
func (s *Settings) Sent() bool {
	return len(s.Headers) > 0 || s.Auth != nil || s.CA != "" || s.Subject != ""
}

// Encode returns the settings as JSON, with their secrets; nil if they are zero.
func (s *Settings) Encode() ([]byte, error) {
	if s.IsZero() {
		return nil, nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode an endpoint's settings: %w", err)
	}
	return b, nil
}

// Decode reads what [Settings.Encode] returned. The error shows no part of it.
func Decode(b []byte) (Settings, error) {
	var s Settings
	if len(b) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return Settings{}, fmt.Errorf("decode an endpoint's settings: %T", err)
	}
	return s, nil
}

// Normalize validates the settings and writes them in the form that is stored: names
// of headers canonical, values without white space around them, the token URL as
// url returns it. url is given a field's name and value; now is the time at which
// certificates must be valid. The error is an [*events.FieldError], such as for the
// field "headers" or "auth.token_url".
func (s *Settings) Normalize(now time.Time, url func(field, raw string) (string, error)) error {
	var err error
	if s.Headers, err = normalizeHeaders(s.Headers); err != nil {
		return err
	}
	if s.Auth != nil {
		auth := *s.Auth // the caller's stays as it is
		s.Auth = &auth
		if err := auth.normalize(now, url); err != nil {
			return err
		}
		if _, set := s.Headers["Authorization"]; set && auth.Type != MTLS {
			return fault("headers", "sets Authorization, which auth of the type %q sets too; leave one of them out", auth.Type)
		}
	}
	if s.Subject != "" {
		if err := checkSubject(s.Subject); err != nil {
			return err
		}
	}
	if s.CA != "" {
		if _, err := Roots(nil, s.CA); err != nil {
			return fault("ca", "%s", err)
		}
		if !anyValid(s.CA, now) {
			return fault("ca", "holds no certificate that is valid now")
		}
	}
	return nil
}

// Keep replaces each [Mask] by the secret that was there before. It returns an
// [*events.FieldError] if there was none.
func (s *Settings) Keep(before *Settings) error {
	headers := make(map[string]string, len(s.Headers))
	for name, value := range s.Headers {
		if value == Mask {
			was, ok := before.Headers[canonical(name)]
			if !ok {
				return fault("headers", "gives %q the value %q, which keeps a stored value, and none is stored", clip(name), Mask)
			}
			value = was
		}
		headers[name] = value
	}
	s.Headers = headers
	if s.Auth == nil {
		return nil
	}
	auth := *s.Auth
	s.Auth = &auth
	for _, f := range auth.secrets() {
		if *f.value != Mask {
			continue
		}
		if before.Auth == nil || before.Auth.Type != auth.Type {
			return fault("auth."+f.name, "is %q, which keeps a stored value, and none is stored", Mask)
		}
		for _, was := range before.Auth.secrets() {
			if was.name == f.name {
				*f.value = *was.value
			}
		}
	}
	return nil
}

// Masked returns the settings with [Mask] in place of each secret, and without the
// signing key.
func (s Settings) Masked() Settings {
	s.SigningKey = ""
	if len(s.Headers) > 0 {
		masked := make(map[string]string, len(s.Headers))
		for name := range s.Headers {
			masked[name] = Mask
		}
		s.Headers = masked
	}
	if s.Auth != nil {
		auth := *s.Auth
		for _, f := range auth.secrets() {
			*f.value = Mask
		}
		s.Auth = &auth
	}
	return s
}

func fault(field, format string, args ...any) error {
	return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// clip shortens a name for an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
