package attempt

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
)

// Endpoint is what a webhook's own settings add to its requests. It is immutable, and
// nil adds nothing. Make one with [NewEndpoint].
type Endpoint struct {
	id      [16]byte
	key     [sha256.Size]byte // of what connections and tokens depend on
	timeout time.Duration     // 0: the poster's
	late    error             // the cause of its deadline
	header  http.Header       // static headers, and Authorization of basic
	oauth2  *endpoint.Auth    // nil: no token
	pair    *tls.Certificate  // nil: no client certificate
	ca      string            // "": the system's certificates alone

	// Of a broker alone.

	subject        string
	user, password string
	creds          string // the text of a .creds file, or a seed
}

// NewEndpoint makes the endpoint of a tenant's webhook: its id, its settings and its time limit,
// 0 for the poster's. It returns nil if they add nothing. The error shows no secret.
func NewEndpoint(tenant, id [16]byte, s *endpoint.Settings, timeout time.Duration) (*Endpoint, error) {
	if timeout == 0 && !s.Sent() {
		return nil, nil //nolint:nilnil // nothing to add is no error
	}
	e := &Endpoint{id: id, ca: s.CA, subject: s.Subject}
	if timeout > 0 {
		e.timeout, e.late = timeout, lateAfter(timeout)
	}
	e.header = make(http.Header, len(s.Headers)+1)
	for name, value := range s.Headers {
		e.header[name] = []string{value}
	}
	if s.Auth == nil {
		return e, e.digest(tenant, nil)
	}
	switch s.Auth.Type {
	case endpoint.Creds:
		e.creds = s.Auth.Credentials
	case endpoint.Basic:
		e.user, e.password = s.Auth.Username, s.Auth.Password
		e.header["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(s.Auth.Username+":"+s.Auth.Password))}
	case endpoint.OAuth2:
		e.oauth2 = s.Auth
	case endpoint.MTLS:
		pair, err := s.Auth.Pair()
		if err != nil {
			return nil, err
		}
		e.pair = &pair
	}
	return e, e.digest(tenant, s.Auth)
}

// add sets the endpoint's headers that are not set yet.
func (e *Endpoint) add(h http.Header) {
	for name, values := range e.header {
		if _, set := h[name]; !set {
			h[name] = values
		}
	}
}

// AddMasked sets the headers that an endpoint with these settings adds, with every secret masked.
func AddMasked(h http.Header, s *endpoint.Settings) {
	if s.Subject != "" {
		AddMessageID(h) // credentials are part of the connection
		return
	}
	e := Endpoint{header: make(http.Header, len(s.Headers)+1)}
	for name := range s.Headers {
		e.header[name] = []string{endpoint.Mask}
	}
	if s.Auth != nil {
		switch s.Auth.Type {
		case endpoint.Basic:
			e.header["Authorization"] = []string{"Basic " + endpoint.Mask}
		case endpoint.OAuth2:
			e.header["Authorization"] = []string{"Bearer " + endpoint.Mask}
		case endpoint.MTLS, endpoint.Creds: // nothing in the header
		}
	}
	e.add(h)
}

// digest sets the key. It is the same for those webhooks of a tenant that have the same credentials.
func (e *Endpoint) digest(tenant [16]byte, auth *endpoint.Auth) error {
	b, err := json.Marshal([]any{tenant, auth, e.ca})
	e.key = sha256.Sum256(b)
	return err
}

// own reports whether the endpoint has connections or a token of its own.
func (e *Endpoint) own() bool { return e.private() || e.oauth2 != nil }

// private reports whether the endpoint has connections of its own.
func (e *Endpoint) private() bool { return e.pair != nil || e.ca != "" }
