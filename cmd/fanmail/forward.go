package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// secretFile in DIR holds the signing secret of forwarded events, so that the
// receiver's configuration stays valid when the command is started again.
const secretFile = "listen-secret"

// listenSecret reads the secret. If there is none, it creates one.
func listenSecret(dir string) (string, error) {
	path := filepath.Join(dir, secretFile)
	b, err := os.ReadFile(path) //nolint:gosec // the user's own directory
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the signing secret: %w", err)
	}
	secret := signature.NewSecret()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("store the signing secret: %w", err)
	}
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("store the signing secret: %w", err)
	}
	return secret, nil
}

// tunnel tails events over the API, so that this machine needs no open port. It
// POSTs each event to c.Forward like a webhook, signed with the secret of
// [listenSecret]. It does not retry.
func (c *listenCmd) tunnel(ctx context.Context, s *session, api *apiclient.Client) error {
	secret, err := listenSecret(s.dir)
	if err != nil {
		return err
	}
	signer, err := signature.NewSigner(secret)
	if err != nil {
		return fmt.Errorf("the secret in %s: %w; delete the file to get a new secret", filepath.Join(s.dir, secretFile), err)
	}
	first := true
	return watch(ctx, api, watching{types: c.Events, agents: c.Agents}, s.note, func() {
		if first {
			s.say("listening on the events of %s, forwarding to %s; Ctrl-C stops", api.Base, c.Forward)
			s.say("signing secret, the same at every start: %s", secret)
		}
		first = false
	}, func(env events.Envelope, raw []byte) error {
		h := http.Header{"Content-Type": {"application/json"}, "Fanmail-Attempt": {"1"}}
		h.Set("Fanmail-Delivery-Id", events.DeriveDeliveryID(env.ID, events.WebhookID{}, events.ReplayID{}, env.CreatedAt).String())
		signer.Sign(h, env.ID.String(), time.Now(), raw)
		a := parseArrival(h, raw)
		status, note := c.answer(ctx, a)
		s.say("%s  %s  → %d%s", time.Now().Format(time.TimeOnly), a, status, note)
		return nil
	})
}
