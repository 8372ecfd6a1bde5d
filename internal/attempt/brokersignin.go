package attempt

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
)

const textCredentials = "the broker refused the credentials" //nolint:gosec // it holds none

// errCreds is the error of credentials of which nothing was sent. It shows nothing of them.
var errCreds = &unmade{reason: ReasonRequest, text: "the webhook's auth.credentials can't be read; give the text of a .creds file, or the seed of a user's nkey"}

// signIn is how an endpoint's credentials sign in to a broker. A client certificate is part of the handshake.
func (e *Endpoint) signIn() ([]nats.Option, error) {
	switch {
	case e.creds != "" && endpoint.IsJWT(e.creds):
		if _, err := endpoint.NKey(e.creds); err != nil {
			return nil, errCreds
		}
		return []nats.Option{nats.UserCredentialBytes([]byte(e.creds))}, nil
	case e.creds != "":
		key, err := endpoint.NKey(e.creds)
		if err != nil {
			return nil, errCreds
		}
		name, err := key.PublicKey()
		if err != nil {
			return nil, errCreds
		}
		return []nats.Option{nats.Nkey(name, key.Sign)}, nil
	case e.user != "":
		return []nats.Option{nats.UserInfo(e.user, e.password)}, nil
	}
	return nil, nil
}

// refusedText says that a broker refuses an endpoint's credentials, and whether they have expired.
func (e *Endpoint) refusedText() string {
	if e.creds != "" {
		if at := endpoint.CredsExpire(e.creds); !at.IsZero() && time.Now().After(at) {
			return fmt.Sprintf("%s, which have expired on %s; bring new ones", textCredentials, at.Format(endpoint.DateFormat))
		}
	}
	return textCredentials
}
