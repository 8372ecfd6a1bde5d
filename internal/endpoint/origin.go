package endpoint

import (
	"net/url"
	"strings"
)

const giveAnew = "give %s anew in the same change, or remove it"

// CheckMove returns an [*events.FieldError] for the field url if stored secrets would go to another origin than the
// one that they were set for. before are the stored settings of the URL from; s are those of a change to the URL to.
// headers and auth report whether the change sets these settings, where [Mask] keeps a secret. A private key of mtls may
// stay: it signs a handshake and is not sent.
func (s *Settings) CheckMove(before *Settings, from, to string, headers, auth bool) error {
	if sameOrigin(from, to) {
		return nil
	}
	var held []string
	masked := false
	for _, value := range s.Headers {
		masked = masked || value == Mask
	}
	if masked || !headers && len(before.Headers) > 0 {
		held = append(held, "headers")
	}
	if s.Auth != nil && s.Auth.Type != MTLS {
		for _, f := range s.Auth.secrets() {
			if !auth || *f.value == Mask {
				held = append(held, "auth."+f.name)
			}
		}
	}
	if len(held) == 0 {
		return nil
	}
	names := strings.Join(held, " and ")
	return fault("url", "has another scheme, host or port than before, and stored secrets are not sent there: "+giveAnew, names)
}

// CheckToken returns an [*events.FieldError] if a stored client secret would go to another origin than the one that it
// was set for. given is the change, with its masks; s is the result, normalized; before are the stored settings.
func (s *Settings) CheckToken(given, before *Settings) error {
	if s.Auth == nil || s.Auth.Type != OAuth2 || given.Auth.ClientSecret != Mask || before.Auth == nil || sameOrigin(before.Auth.TokenURL, s.Auth.TokenURL) {
		return nil
	}
	return fault("auth.client_secret", "is %q, and auth.token_url has another scheme, host or port than before: "+giveAnew, Mask, "auth.client_secret")
}

// sameOrigin reports whether two URLs have the same scheme, host and port. A URL that can't be read has no origin.
func sameOrigin(a, b string) bool {
	from, ok := origin(a)
	to, valid := origin(b)
	return ok && valid && from == to
}

func origin(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "nats": "4222", "tls": "4222"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port, true
}
