package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

type consoleCmd struct {
	target
	Operator bool `help:"Sign in with the operator's key of DIR/credentials.json."`
}

// consoleLink asks a server for a one-time link to its console.
func consoleLink(ctx context.Context, c *apiclient.Client) (link string, expires time.Time, err error) {
	var made struct {
		Path      string    `json:"path"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := c.Do(ctx, http.MethodPost, "/console/links", nil, nil, &made); err != nil {
		return "", time.Time{}, err
	}
	return strings.TrimRight(c.Base, "/") + made.Path, made.ExpiresAt, nil
}

// Run prints a link that signs a browser in to the console.
func (c *consoleCmd) Run(ctx context.Context, s *session) error {
	client, err := c.client(s, role(c.Operator))
	if err != nil {
		return err
	}
	if c.JSON {
		return c.show(ctx, s, role(c.Operator), http.MethodPost, "/console/links", nil)
	}
	link, expires, err := consoleLink(ctx, client)
	if err != nil {
		return err
	}
	s.note("Open this link in a browser. It signs you in once, within " + time.Until(expires).Round(time.Minute).String() + ".")
	s.say("%s", link)
	return nil
}
