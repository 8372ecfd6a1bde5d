package main

import (
	"context"
	"errors"
	"io"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/assistant"
)

type mcpCmd struct {
	reading
	AllowChanges bool `help:"Let the assistant retry deliveries, redeliver events and replay what a webhook missed, as far as the key may."`
	Bodies       bool `help:"Show the assistant the bodies of events, such as mails. By default it sees senders and subjects only."`
}

// Help is the end of the command's help.
func (c *mcpCmd) Help() string {
	return `It speaks the Model Context Protocol on standard input and output; an assistant's program starts it. What the
key may read is what the assistant sees. Give it a key with the role read, or replay with --allow-changes.`
}

func (c *mcpCmd) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	if c.AllowChanges && c.Tenant != "" {
		return errors.New("--allow-changes and --tenant exclude each other: an operator's key changes nothing of a tenant")
	}
	server := assistant.New(assistant.Options{API: api, Changes: c.AllowChanges, Bodies: c.Bodies, Version: app.Version()})
	err = server.Run(ctx, &mcp.IOTransport{Reader: io.NopCloser(s.in), Writer: unclosed{s.out}})
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// unclosed is standard output, which the command does not close.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
