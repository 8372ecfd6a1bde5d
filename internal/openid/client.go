package openid

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// Config is a client of one provider.
type Config struct {
	// Issuer is the provider's URL; https, or http on this machine. Required.
	Issuer string
	// ClientID is required; a public client has no ClientSecret.
	ClientID     string
	ClientSecret secret.Text
	// Redirect is the URL to which the provider sends people back. Required.
	Redirect string
	// Scopes are asked for beside openid.
	Scopes []string
	// Roles say what members of groups may do. Required.
	Roles []Role
	// GroupsClaim and TenantClaim are names of claims. Required.
	GroupsClaim, TenantClaim string
}

// timeout bounds a request to the provider.
const timeout = 10 * time.Second

var (
	// ErrUnavailable means that the provider could not be reached: the same sign-in can
	// succeed later.
	ErrUnavailable = errors.New("the identity provider can't be reached")
	// ErrRefused means that an answer of the provider is not of the sign-in that was begun.
	ErrRefused = errors.New("the sign-in was not completed")
	// ErrNoRole means that the person has no group of the mapping.
	ErrNoRole = errors.New("no group has a role")
)

// Client signs people in.
type Client struct {
	config Config
	http   *http.Client

	asking   singleflight.Group
	provider atomic.Pointer[oidc.Provider] // nil until the provider has answered
}

// New returns a client. An error names the field that is wrong.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !local(u.Hostname())) {
		return nil, errors.New("the issuer must be an https URL")
	}
	if c.ClientID == "" {
		return nil, errors.New("the client's id is required")
	}
	if u, err := url.Parse(c.Redirect); err != nil || u.Host == "" {
		return nil, errors.New("the public URL of the console is required")
	}
	if len(c.Roles) == 0 {
		return nil, errors.New("the roles of groups are required")
	}
	return &Client{config: c, http: &http.Client{Timeout: timeout}}, nil
}

func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Begun is a sign-in that was begun. The browser keeps it until the provider sends it back.
type Begun struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// Identity is a person who has signed in.
type Identity struct {
	// Subject identifies the person: issuer and subject.
	Subject string
	// Name is shown. It is clean text of at most 200 bytes.
	Name string
	// Role says what the person may do.
	Role Role
}

// discover asks the provider for its endpoints once. A failure is not kept. All who wait share a request.
func (c *Client) discover(ctx context.Context) (*oidc.Provider, error) {
	if p := c.provider.Load(); p != nil {
		return p, nil
	}
	// The one who asks may leave while others wait; the client's own timeout ends the request.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), c.http)
	found, err, _ := c.asking.Do("", func() (any, error) { return oidc.NewProvider(ctx, c.config.Issuer) })
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p := found.(*oidc.Provider)
	c.provider.Store(p)
	return p, nil
}

func (c *Client) oauth(p *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: c.config.ClientID, ClientSecret: c.config.ClientSecret.Reveal(), RedirectURL: c.config.Redirect,
		Endpoint: p.Endpoint(), Scopes: append([]string{oidc.ScopeOpenID}, c.config.Scopes...),
	}
}

// Begin returns the provider's URL to open, and what [Client.Finish] needs.
func (c *Client) Begin(ctx context.Context) (string, Begun, error) {
	p, err := c.discover(ctx)
	if err != nil {
		return "", Begun{}, err
	}
	b := Begun{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	return c.oauth(p).AuthCodeURL(b.State, oidc.Nonce(b.Nonce), oauth2.S256ChallengeOption(b.Verifier)), b, nil
}

// Finish takes the query with which the provider sends a person back. An error is
// [ErrUnavailable], [ErrRefused] or [ErrNoRole], with the cause for the log.
func (c *Client) Finish(ctx context.Context, b Begun, answer url.Values) (Identity, error) {
	if b.State == "" || subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(b.State)) != 1 {
		return Identity{}, fmt.Errorf("%w: the state is not that of the sign-in that was begun", ErrRefused)
	}
	// RFC 9207: an answer that another provider gave, where the answer says whose it is.
	if iss := answer.Get("iss"); iss != "" && iss != c.config.Issuer {
		return Identity{}, fmt.Errorf("%w: the answer is of another provider", ErrRefused)
	}
	if code := answer.Get("error"); code != "" {
		return Identity{}, fmt.Errorf("%w: the provider answered %q", ErrRefused, code)
	}
	p, err := c.discover(ctx)
	if err != nil {
		return Identity{}, err
	}
	ctx = oidc.ClientContext(ctx, c.http)
	conf := c.oauth(p)
	token, err := conf.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(b.Verifier))
	if err != nil {
		var said *oauth2.RetrieveError
		if errors.As(err, &said) && said.Response != nil && said.Response.StatusCode < 500 {
			return Identity{}, fmt.Errorf("%w: the provider refused the code: %q", ErrRefused, said.ErrorCode)
		}
		return Identity{}, fmt.Errorf("%w: exchange the code", ErrUnavailable)
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := p.Verifier(&oidc.Config{ClientID: c.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(b.Nonce)) != 1 {
		return Identity{}, fmt.Errorf("%w: the nonce is not that of the sign-in that was begun", ErrRefused)
	}
	claims := map[string]any{}
	if err := verified.Claims(&claims); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if _, there := claims[c.config.GroupsClaim]; !there {
		// Many providers keep ID tokens small and tell the rest on request.
		if err := c.more(ctx, p, conf, token, verified.Subject, claims); err != nil {
			return Identity{}, err
		}
	}
	return c.identity(verified, claims)
}

// more adds the claims that the provider's endpoint for user information knows.
func (c *Client) more(ctx context.Context, p *oidc.Provider, conf *oauth2.Config, token *oauth2.Token, subject string, claims map[string]any) error {
	if p.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := p.UserInfo(ctx, conf.TokenSource(ctx, token))
	if err != nil {
		return fmt.Errorf("%w: ask for the person's claims: %w", ErrUnavailable, err)
	}
	if info.Subject != subject {
		return fmt.Errorf("%w: the claims are another person's", ErrRefused)
	}
	found := map[string]any{}
	if err := info.Claims(&found); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for k, v := range found {
		if _, there := claims[k]; !there {
			claims[k] = v
		}
	}
	return nil
}

func (c *Client) identity(token *oidc.IDToken, claims map[string]any) (Identity, error) {
	var claimed events.TenantID
	if text, _ := claims[c.config.TenantClaim].(string); text != "" {
		if err := claimed.UnmarshalText([]byte(text)); err != nil {
			return Identity{}, fmt.Errorf("%w: the claim %s names no tenant", ErrNoRole, c.config.TenantClaim)
		}
	}
	role, ok := choose(c.config.Roles, list(claims[c.config.GroupsClaim]), claimed)
	if !ok {
		return Identity{}, fmt.Errorf("%w: subject %q", ErrNoRole, token.Subject)
	}
	out := Identity{Subject: clean(token.Issuer + " " + token.Subject), Role: role}
	for _, name := range []string{"name", "email", "preferred_username", "sub"} {
		if text, _ := claims[name].(string); text != "" && out.Name == "" {
			out.Name = clean(text)
		}
	}
	return out, nil
}

// list are the texts of a claim: one, or several.
func list(claim any) (out []string) {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			if text, ok := e.(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}

// clean is a text of the provider as it can be stored and shown.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "")
	}
	return input.Shown(text)
}
