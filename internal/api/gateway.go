package api

import (
	"maps"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// authSettings are credentials, in requests and answers.
type authSettings struct {
	Type         string   `json:"type" enum:"basic,oauth2,mtls,creds"`
	Username     string   `json:"username,omitempty" doc:"Of basic."`
	Password     string   `json:"password,omitempty" doc:"Of basic. Shown as ***."`
	TokenURL     string   `json:"token_url,omitempty" doc:"Of oauth2: where a token is asked for with the grant of client credentials. The rules of a webhook's url apply."`
	ClientID     string   `json:"client_id,omitempty" doc:"Of oauth2."`
	ClientSecret string   `json:"client_secret,omitempty" doc:"Of oauth2. Shown as ***."`
	Scopes       []string `json:"scopes,omitempty" doc:"Of oauth2; at most 20."`
	Certificate  string   `json:"certificate,omitempty" doc:"Of mtls: the client certificate and its chain, in PEM."`
	PrivateKey   string   `json:"private_key,omitempty" doc:"Of mtls: the key of the certificate, in PEM, without a passphrase. Shown as ***."`
	Credentials  string   `json:"credentials,omitempty" doc:"Of creds, for a broker: the text of a .creds file, with the user's JWT and key, or the seed of a user's nkey. Shown as ***."`
}

func (a *authSettings) settings() *subscribers.Auth {
	if a == nil {
		return nil
	}
	auth := subscribers.Auth(*a)
	return &auth
}

// shownAuth are credentials in an answer, or null.
type shownAuth authSettings

// Schema is that of the settings.
func (shownAuth) Schema(r huma.Registry) *huma.Schema { return inline[authSettings](r) }

func showAuth(a *subscribers.Auth) *shownAuth {
	if a == nil {
		return nil
	}
	shown := shownAuth(*a)
	return &shown
}

// retrySettings are a retry policy, in requests and answers.
type retrySettings struct {
	Type     string   `json:"type" enum:"list,exponential"`
	Delays   []string `json:"delays,omitempty" example:"[\"1m\",\"5m\",\"1h\"]" doc:"Of list: the wait before each attempt after the first, from 1s to 24h. n delays make n + 1 attempts, at most 30."`
	Initial  string   `json:"initial,omitempty" example:"30s" doc:"Of exponential: the wait before the second attempt, from 1s to 24h."`
	Factor   float64  `json:"factor,omitempty" example:"2" doc:"Of exponential: the growth of the waits, from 1 to 100."`
	Max      string   `json:"max,omitempty" example:"4h" doc:"Of exponential: the longest wait, up to 24h."`
	Attempts int      `json:"attempts,omitempty" example:"10" doc:"Of exponential: the number of attempts with the first, from 1 to 30."`
	Jitter   *float64 `json:"jitter,omitempty" example:"0.1" doc:"Spreads each wait by this part of it to both sides, from 0 to 0.5. Absent: 0.1."`
	Final    []int    `json:"final,omitempty" example:"[400,422]" doc:"Status codes, from 300 to 599, after which no further attempt is made. 410 always ends a delivery."`
}

func (r *retrySettings) settings() (*subscribers.Retry, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // the default schedule
	}
	p, err := retry.Parse(retry.Text(*r))
	if f, ok := err.(*events.FieldError); ok { //nolint:errorlint // documented, and never wrapped
		return nil, fault("body.retry."+f.Field, "%s", f.Reason)
	}
	return &p, err
}

// shownRetry is a policy in an answer, or null.
type shownRetry retrySettings

// Schema is that of the settings.
func (shownRetry) Schema(r huma.Registry) *huma.Schema { return inline[retrySettings](r) }

func showRetry(p *subscribers.Retry) *shownRetry {
	if p == nil {
		return nil
	}
	shown := shownRetry(p.Text())
	return &shown
}

// GatewaySettings are what gateways in front of an endpoint ask for, in the body of
// POST /v1/webhooks.
type GatewaySettings struct {
	Headers map[string]string `json:"headers,omitempty" example:"{\"X-Api-Key\":\"secret\"}" doc:"Sent with each request. At most 20 headers, with 4096 bytes of names and values; those that Fanmail sets itself and those of the connection are refused. The values are secrets, shown as ***."`
	Auth    *authSettings     `json:"auth,omitempty" doc:"Credentials for the endpoint: basic, oauth2 or mtls; for a broker: basic, mtls or creds."`
	CA      string            `json:"ca,omitempty" doc:"Certificates in PEM to trust beside the system's."`
	Retry   *retrySettings    `json:"retry,omitempty" doc:"When a delivery is attempted again; absent: the default schedule."`
	Timeout int               `json:"timeout,omitempty" minimum:"1" maximum:"30" doc:"The time for an attempt, in seconds, from dialling to the end of the answer. Absent: 15."`
	Ed25519 bool              `json:"ed25519,omitempty" doc:"Gives each request a v1a signature of Standard Webhooks beside the HMAC. public_key verifies it."`
	EnvelopeSettings
}

// EnvelopeSettings choose the form of the envelope.
type EnvelopeSettings struct {
	Envelope      string    `json:"envelope,omitempty" enum:"v0.4" doc:"The envelope of e2a v0.4, for a receiver that can't read Fanmail's yet. Absent: Fanmail's own."`
	EnvelopeUntil time.Time `json:"envelope_until,omitzero" doc:"Until when the webhook gets that envelope: at most 366 days from now. Absent: 90 days from now."`
}

func (e *EnvelopeSettings) apply(w *subscribers.Webhook) {
	w.Envelope = e.Envelope
	if !e.EnvelopeUntil.IsZero() {
		w.EnvelopeUntil = &e.EnvelopeUntil
	}
}

func (g *GatewaySettings) apply(w *subscribers.Webhook) (err error) {
	w.Headers, w.Auth, w.CA, w.Ed25519 = g.Headers, g.Auth.settings(), g.CA, g.Ed25519
	w.Timeout = time.Duration(g.Timeout) * time.Second
	g.EnvelopeSettings.apply(w)
	w.Retry, err = g.Retry.settings()
	return err
}

// GatewayChange is the same in the body of PATCH /v1/webhooks/{id}: null clears a
// setting.
type GatewayChange struct {
	Headers optional[map[string]string] `json:"headers,omitempty" nullable:"true" doc:"Replaces all headers; the value *** keeps the stored value of a header. null: none."`
	Auth    optional[authSettings]      `json:"auth,omitempty" nullable:"true" doc:"Replaces the credentials; *** keeps a stored secret. null: none."`
	CA      optional[string]            `json:"ca,omitempty" nullable:"true" doc:"null: the system's certificates alone."`
	Retry   optional[retrySettings]     `json:"retry,omitempty" nullable:"true" doc:"null: the default schedule. Deliveries that exist keep their number of attempts."`
	Timeout optional[int]               `json:"timeout,omitempty" minimum:"1" maximum:"30" nullable:"true" doc:"null: the default."`
	Ed25519 optional[bool]              `json:"ed25519,omitempty" nullable:"true" doc:"true makes a key pair if there is none; false or null removes it."`

	Envelope      optional[string]    `json:"envelope,omitempty" nullable:"true" enum:"v0.4" doc:"The envelope of e2a v0.4; null: Fanmail's own, from now on."`
	EnvelopeUntil optional[time.Time] `json:"envelope_until,omitempty" doc:"Until when the webhook gets that envelope: at most 366 days from now. Absent where envelope is set: 90 days from now."`
}

func (g *GatewayChange) apply(p *subscribers.Patch) (err error) {
	if g.Retry.value != nil {
		if p.Retry, err = g.Retry.value.settings(); err != nil {
			return err
		}
	} else if g.Retry.Set {
		p.Retry = &subscribers.Retry{}
	}
	if g.Auth.Set {
		p.Auth = &subscribers.Auth{}
		if g.Auth.value != nil {
			p.Auth = g.Auth.value.settings()
		}
	}
	if g.Timeout.Set {
		p.Timeout = new(time.Duration)
		if g.Timeout.value != nil {
			*p.Timeout = time.Duration(*g.Timeout.value) * time.Second
		}
	}
	p.Headers, p.CA, p.Ed25519, p.Envelope = g.Headers.orZero(), g.CA.orZero(), g.Ed25519.orZero(), g.Envelope.orZero()
	p.EnvelopeUntil, err = g.EnvelopeUntil.required("body.envelope_until")
	return err
}

// Gateway are the same settings in an answer, without secrets.
type Gateway struct {
	Headers   map[string]string `json:"headers" doc:"The names are shown; each value is ***."`
	Auth      *shownAuth        `json:"auth" nullable:"true" doc:"Secrets are shown as ***."`
	CA        *string           `json:"ca"`
	Retry     *shownRetry       `json:"retry" nullable:"true" doc:"null: the default schedule."`
	Timeout   int               `json:"timeout" doc:"The time for an attempt, in seconds."`
	Ed25519   bool              `json:"ed25519"`
	PublicKey *string           `json:"public_key" doc:"The public key of the v1a signatures; null without ed25519."`

	Envelope      *string    `json:"envelope" doc:"v0.4: the envelope of e2a v0.4, until envelope_until; null: Fanmail's own."`
	EnvelopeUntil *time.Time `json:"envelope_until"`
}

func showGateway(w *subscribers.Webhook) Gateway {
	g := Gateway{
		Headers: map[string]string{}, Auth: showAuth(w.Auth), CA: text(w.CA), Retry: showRetry(w.Retry),
		Timeout: int(subscribers.DefaultTimeout.Seconds()), Ed25519: w.Ed25519, PublicKey: text(w.PublicKey),
		Envelope: text(w.Envelope), EnvelopeUntil: w.EnvelopeUntil,
	}
	maps.Copy(g.Headers, w.Headers)
	if w.Timeout > 0 {
		g.Timeout = int(w.Timeout.Seconds())
	}
	return g
}

// secretText is a signing secret that is brought along.
type secretText string

// Schema is the schema of the secret.
func (secretText) Schema(huma.Registry) *huma.Schema {
	least, most := subscribers.MinSecretLength, subscribers.MaxSecretLength
	return &huma.Schema{
		Type: huma.TypeString, MinLength: &least, MaxLength: &most,
		Description: "A secret to bring along, of printable ASCII characters; absent: Fanmail makes one. After whsec_, base64 must follow.",
	}
}
