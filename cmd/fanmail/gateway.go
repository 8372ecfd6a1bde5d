package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// gatewayFlags are the settings that gateways in front of an endpoint ask for. A value
// @FILE is read from the file, so that no secret stands in the list of processes.
type gatewayFlags struct {
	Headers        []string `name:"header" sep:"none" placeholder:"NAME=VALUE" help:"A header of each request; repeatable. =@FILE reads the value from a file."`
	BasicAuth      *string  `placeholder:"USER:PASSWORD" help:"User name and password for the endpoint, or @FILE."`
	TokenURL       *string  `name:"oauth2-token-url" help:"Where to ask for an OAuth 2 token, with the grant of client credentials."`
	ClientID       *string  `name:"oauth2-client-id" help:"The client id for the token."`
	ClientSecret   *string  `name:"oauth2-client-secret" help:"The client secret for the token, or @FILE."`
	Scopes         []string `name:"oauth2-scope" help:"Scopes of the token."`
	Certificate    *string  `name:"client-certificate" placeholder:"FILE" help:"A client certificate with its chain, PEM."`
	CertificateKey *string  `name:"client-key" placeholder:"FILE" help:"The key of the client certificate, PEM."`
	NATSCreds      *string  `name:"nats-credentials" placeholder:"@FILE" help:"The text of a .creds file for a NATS broker, or an nkey's seed, or @FILE."`
	CA             *string  `name:"ca" placeholder:"FILE" help:"Certificates to trust beside the system's, PEM."`
	Timeout        *int     `help:"The time for an attempt in seconds, 1 to 30."`
	Ed25519        *bool    `name:"ed25519" negatable:"" help:"Sign with an Ed25519 key pair too (v1a)."`
	Envelope       *string  `placeholder:"v0.4" help:"The envelope of e2a v0.4, for a receiver that can't read Fanmail's yet."`
	EnvelopeUntil  *string  `placeholder:"DATE" help:"Until when it gets that envelope, such as 2027-03-01; by default for 90 days."`
	RetryDelays    []string `placeholder:"1m,5m,…" help:"The waits between attempts."`
	RetryInitial   *string  `placeholder:"30s" help:"Exponential retries: the first wait."`
	RetryFactor    *float64 `placeholder:"2" help:"Exponential retries: the growth of the waits."`
	RetryMax       *string  `placeholder:"4h" help:"Exponential retries: the longest wait."`
	RetryAttempts  *int     `placeholder:"10" help:"Exponential retries: the number of attempts."`
	RetryJitter    *float64 `placeholder:"0.1" help:"Spread each wait by this part of it."`
	RetryFinal     []int    `placeholder:"400,422" help:"Status codes after which no attempt follows."`
}

// into adds the settings that are given to a request.
func (g *gatewayFlags) into(b map[string]any) error {
	if len(g.Headers) > 0 {
		headers, err := g.headers()
		if err != nil {
			return err
		}
		b["headers"] = headers
	}
	auth, err := g.auth()
	if err != nil {
		return err
	}
	if auth != nil {
		b["auth"] = auth
	}
	if g.CA != nil {
		if b["ca"], err = readFile("--ca", *g.CA); err != nil {
			return err
		}
	}
	if g.Timeout != nil {
		b["timeout"] = *g.Timeout
	}
	if g.Ed25519 != nil {
		b["ed25519"] = *g.Ed25519
	}
	if retry := g.retry(); retry != nil {
		b["retry"] = retry
	}
	if g.Envelope != nil {
		b["envelope"] = *g.Envelope
	}
	if g.EnvelopeUntil != nil {
		b["envelope_until"] = *g.EnvelopeUntil
		if day, err := time.Parse(time.DateOnly, *g.EnvelopeUntil); err == nil {
			b["envelope_until"] = day
		}
	}
	return nil
}

func (g *gatewayFlags) headers() (map[string]string, error) {
	headers := map[string]string{}
	for _, h := range g.Headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return nil, errors.New("read --header: it is not NAME=VALUE")
		}
		value, err := textOrFile("--header", value)
		if err != nil {
			return nil, err
		}
		headers[strings.TrimSpace(name)] = value
	}
	return headers, nil
}

// auth returns the credentials, nil if none are given.
func (g *gatewayFlags) auth() (map[string]any, error) {
	oauth2 := g.TokenURL != nil || g.ClientID != nil || g.ClientSecret != nil || len(g.Scopes) > 0
	mtls := g.Certificate != nil || g.CertificateKey != nil
	if several(g.BasicAuth != nil, oauth2, mtls, g.NATSCreds != nil) {
		return nil, errors.New("read the credentials: give one kind of --basic-auth, --oauth2-…, --nats-credentials, and --client-certificate with --client-key")
	}
	auth := map[string]any{}
	switch {
	case g.BasicAuth != nil:
		text, err := textOrFile("--basic-auth", *g.BasicAuth)
		if err != nil {
			return nil, err
		}
		user, password, ok := strings.Cut(text, ":")
		if !ok {
			return nil, errors.New("read --basic-auth: it is not USER:PASSWORD")
		}
		auth["type"], auth["username"], auth["password"] = "basic", user, password
	case g.NATSCreds != nil:
		text, err := textOrFile("--nats-credentials", *g.NATSCreds)
		if err != nil {
			return nil, err
		}
		auth["type"], auth["credentials"] = "creds", text
	case oauth2:
		auth["type"] = "oauth2"
		for name, v := range map[string]*string{"token_url": g.TokenURL, "client_id": g.ClientID, "client_secret": g.ClientSecret} {
			if v == nil {
				continue
			}
			text, err := textOrFile("--oauth2-"+strings.ReplaceAll(name, "_", "-"), *v)
			if err != nil {
				return nil, err
			}
			auth[name] = text
		}
		if len(g.Scopes) > 0 {
			auth["scopes"] = g.Scopes
		}
	case mtls:
		auth["type"] = "mtls"
		for name, v := range map[string]*string{"certificate": g.Certificate, "private_key": g.CertificateKey} {
			if v == nil {
				continue
			}
			text, err := readFile("the client certificate", *v)
			if err != nil {
				return nil, err
			}
			auth[name] = text
		}
	default:
		return nil, nil //nolint:nilnil // no credentials
	}
	return auth, nil
}

// several reports whether more than one is true.
func several(list ...bool) bool {
	n := 0
	for _, set := range list {
		if set {
			n++
		}
	}
	return n > 1
}

// retry returns the policy, nil if none is given. The API checks it.
func (g *gatewayFlags) retry() map[string]any {
	r := map[string]any{}
	if g.RetryInitial != nil || g.RetryFactor != nil || g.RetryMax != nil || g.RetryAttempts != nil {
		r["type"] = "exponential"
	}
	if len(g.RetryDelays) > 0 {
		r["type"], r["delays"] = "list", g.RetryDelays
	}
	for name, v := range map[string]*string{"initial": g.RetryInitial, "max": g.RetryMax} {
		if v != nil {
			r[name] = *v
		}
	}
	for name, v := range map[string]*float64{"factor": g.RetryFactor, "jitter": g.RetryJitter} {
		if v != nil {
			r[name] = *v
		}
	}
	if g.RetryAttempts != nil {
		r["attempts"] = *g.RetryAttempts
	}
	if len(g.RetryFinal) > 0 {
		r["final"] = g.RetryFinal
	}
	if len(r) == 0 {
		return nil
	}
	return r
}

// textOrFile returns a value, or, for @FILE, the file's text without its last line
// break.
func textOrFile(flag, value string) (string, error) {
	path, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	text, err := readFile(flag, path)
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), err
}

func readFile(what, path string) (string, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the user's own file
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	return string(b), nil
}
