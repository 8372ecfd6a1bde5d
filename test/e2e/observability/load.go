package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/test/sink"
)

const agent = "robot@example.com"

// load keeps a running Fanmail busy.
type load struct {
	creds app.Credentials
	sink  *sink.Sink
}

// newLoad creates an agent and three webhooks: one that answers, one that fails and one whose port is
// closed.
func newLoad(ctx context.Context, dir string) (*load, error) {
	b, err := os.ReadFile(filepath.Join(dir, "credentials.json")) //nolint:gosec // of the Fanmail just started
	if err != nil {
		return nil, fmt.Errorf("read the credentials: %w", err)
	}
	l := &load{}
	if err := json.Unmarshal(b, &l.creds); err != nil {
		return nil, fmt.Errorf("read the credentials: %w", err)
	}
	if l.sink, err = sink.Start(sink.Options{Keep: sink.KeepCounts}); err != nil { //nolint:contextcheck // it serves until it is closed
		return nil, err
	}
	l.sink.Script("/fails", sink.Status(http.StatusInternalServerError))
	if err := l.post(ctx, "/v1/agents", map[string]any{"address": agent}); err != nil {
		return nil, err
	}
	for _, url := range []string{l.sink.URL("/answers"), l.sink.URL("/fails"), "http://127.0.0.1:65535/"} {
		if err := l.post(ctx, "/v1/webhooks", map[string]any{"url": url, "events": []string{"email.received"}}); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *load) post(ctx context.Context, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.creds.API+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+l.creds.TenantKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("POST %s: %s", path, resp.Status)
	}
	return nil
}

// run sends ten mails and ten events a second until ctx ends.
func (l *load) run(ctx context.Context) error {
	defer l.sink.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		mail := fmt.Appendf(nil, "From: ann@example.org\r\nTo: %s\r\nMessage-ID: <%d@example.org>\r\nSubject: load\r\n\r\nHello\r\n", agent, n)
		if err := smtp.SendMail(l.creds.SMTP, nil, "ann@example.org", []string{agent}, mail); err != nil {
			return fmt.Errorf("send mail: %w", err)
		}
		err := l.post(ctx, "/v1/events", map[string]any{"type": "email.received", "agent_id": agent, "data": map[string]any{"n": n}})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
