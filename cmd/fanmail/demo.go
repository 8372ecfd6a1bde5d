package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
)

type demoCmd struct {
	app.UpConfig
	Stay     bool   `help:"Stay up afterwards, and print what arrives."`
	LogLevel string `name:"log-level" env:"FANMAIL_LOG_LEVEL" default:"warn" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
}

const (
	demoAgent       = "demo@fanmail.example"
	demoDescription = "fanmail demo"
	// demoTimeout is how long the mail may take to arrive. It is much longer than
	// a lease, so that a lost message does not make the demo fail.
	demoTimeout = 90 * time.Second
)

// Run starts Fanmail, sends a mail and waits for its webhook. It returns nil only
// if the webhook arrived with a valid signature. Without --stay it then stops.
func (c *demoCmd) Run(ctx context.Context, s *session) error {
	log, err := (&upCmd{LogLevel: c.LogLevel}).logger()
	if err != nil {
		return err
	}
	began := time.Now()
	c.Dir = s.dir
	c.Step = func(text string) { s.say("· %s", text) }
	ready := make(chan app.Credentials, 1)
	c.Ready = func(creds app.Credentials) { ready <- creds }

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	// The servers stop after the demo, which deletes its webhook over the API.
	upCtx, stopUp := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return app.RunUp(upCtx, c.UpConfig, log) })
	var arrived atomic.Bool
	group.Go(func() error {
		defer stopUp()
		select {
		case <-ctx.Done():
			return nil
		case creds := <-ready:
			return c.show(ctx, s, creds, began, &arrived)
		}
	})
	err = group.Wait()
	if err == nil && !arrived.Load() {
		return errors.New("stopped before the mail arrived")
	}
	if err == nil && !c.Stay {
		s.say("✓ done in %s", time.Since(began).Round(100*time.Millisecond))
	}
	return err
}

// show runs the demo on servers that are up.
func (c *demoCmd) show(ctx context.Context, s *session, creds app.Credentials, began time.Time, arrived *atomic.Bool) error {
	s.say("· Fanmail is up after %s", time.Since(began).Round(100*time.Millisecond))
	introduce(ctx, s, c.Dir, creds)
	api := &apiclient.Client{Base: creds.API, Key: creds.TenantKey, Proxy: http.ProxyFromEnvironment}
	if err := c.clean(ctx, api); err != nil {
		return err
	}
	s.say("· creating the agent %s", demoAgent)
	err := api.Do(ctx, http.MethodPost, "/v1/agents", nil, map[string]string{"address": demoAgent}, nil)
	var p *apiclient.Problem
	if err != nil && (!errors.As(err, &p) || p.Status != http.StatusConflict) {
		return fmt.Errorf("create the agent: %w", err)
	}

	subject := "Hello from Fanmail " + rand.Text()[:6]
	got := make(chan *arrival, 1)
	r, err := newReceiver(ctx, "127.0.0.1:0", demoReceiver(s, subject, got))
	if err != nil {
		return err
	}
	s.say("· creating a webhook to a receiver at %s", r.URL)
	ctx, end := context.WithCancel(ctx)
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	listening := make(chan struct{})
	group.Go(func() error {
		w := webhookSettings{Events: []string{"email.received"}, Agents: []string{demoAgent}, Description: new(demoDescription)}
		return receive(ctx, api, r, w, func() { close(listening) })
	})
	group.Go(func() error {
		defer end()
		select {
		case <-listening:
		case <-ctx.Done():
			return nil
		}
		err := c.mail(ctx, s, creds, subject, got)
		if ctx.Err() != nil {
			return nil // stopped, or the receiver failed and returns the error
		}
		if err != nil {
			return err
		}
		arrived.Store(true)
		if c.Stay {
			c.suggest(s, creds)
			<-ctx.Done()
			s.say("· stopping")
		}
		return nil
	})
	return group.Wait()
}

// demoReceiver answers the demo's webhook. It sends the first arrival with the
// subject to got, and prints the others.
func demoReceiver(s *session, subject string, got chan<- *arrival) func(context.Context, *arrival) int {
	return func(_ context.Context, a *arrival) int {
		if a.Fault != nil {
			s.say("%s", a)
			return http.StatusUnauthorized
		}
		if a.Subject == subject {
			select {
			case got <- a:
				return http.StatusOK
			default: // delivered twice
			}
		}
		s.say("%s  %s", time.Now().Format(time.TimeOnly), a)
		return http.StatusOK
	}
}

// mail sends the demo's mail and waits for its webhook.
func (c *demoCmd) mail(ctx context.Context, s *session, creds app.Credentials, subject string, got <-chan *arrival) error {
	s.say("· sending a mail to %s over SMTP", demoAgent)
	conn, err := dialSMTP(ctx, creds.SMTP)
	if err != nil {
		return err
	}
	defer conn.quit()
	sent := time.Now()
	answer, err := conn.send(message{name: "the demo's mail", from: "you@example.com", to: []string{demoAgent}, raw: demoMail(subject)})
	if err != nil {
		return err
	}
	s.say("  accepted: 250 %s", printable(answer))
	s.say("· waiting for the webhook")
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the mail did not arrive as a webhook within %s", demoTimeout))
	defer cancel()
	select {
	case a := <-got:
		s.say("✓ %s, %s after the mail was sent", a, time.Since(sent).Round(time.Millisecond))
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// clean deletes the webhooks of demos that were killed.
func (c *demoCmd) clean(ctx context.Context, api *apiclient.Client) error {
	var page struct {
		Data []struct{ ID, Description string }
	}
	if err := api.Do(ctx, http.MethodGet, "/v1/webhooks", url.Values{"limit": {"100"}}, nil, &page); err != nil {
		return fmt.Errorf("list the webhooks of earlier demos: %w", err)
	}
	for _, w := range page.Data {
		if w.Description == demoDescription {
			if err := deleteWebhook(ctx, api, w.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *demoCmd) suggest(s *session, creds app.Credentials) {
	dir := ""
	if c.Dir != ".fanmail" {
		dir = " --dir " + c.Dir
	}
	cmd := "bin/fanmail" + dir
	s.say("")
	s.say("Fanmail stays up; Ctrl-C stops it; the data stays in %s. In another terminal, try:", filepath.Clean(c.Dir))
	s.say("  %s send --to %s", cmd, demoAgent)
	s.say("  %s send hello.eml --to %s, with a mail of your own in hello.eml", cmd, demoAgent)
	s.say("  %s agents create you@fanmail.example", cmd)
	s.say("  %s listen --fail-rate 30", cmd)
	s.say("  %s webhooks list", cmd)
	s.say("  %s events list", cmd)
	s.say("  %s console", cmd)
	s.say("  %s/docs in a browser", creds.API)
}

func demoMail(subject string) []byte {
	return crlf([]byte(strings.Join([]string{
		"From: You <you@example.com>",
		"To: Demo <" + demoAgent + ">",
		"Subject: " + subject,
		"Date: " + time.Now().Format(time.RFC1123Z),
		"Message-ID: " + newMessageID(),
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
		"",
		"A real mail, through SMTP, Postgres and JetStream, to a signed webhook.",
		"",
	}, "\n")))
}
