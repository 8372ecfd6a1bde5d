package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type fanoutCmd struct {
	Reset fanoutReset `cmd:"" help:"Set the consumer that fans events out to a point in the past. What was fanned out stays as it is."`
}

type fanoutReset struct {
	app.NATS
	app.Logging
	ToSequence uint64 `placeholder:"N" help:"To this sequence of MAIL_EVENTS; 1 is the beginning."`
	Since      string `placeholder:"TIME" help:"To the first event relayed since then: RFC 3339, or how long ago, such as 2h."`
}

// Run resets the consumer; the broker is that of `fanmail up` unless named.
func (c *fanoutReset) Run(ctx context.Context, s *session) error {
	if (c.ToSequence == 0) == (c.Since == "") {
		return errors.New("say where to: --to-sequence or --since")
	}
	var since time.Time
	if c.Since != "" {
		var err error
		if since, err = parseTime(c.Since, time.Now()); err != nil {
			return fmt.Errorf("--since is %q; it must be a time such as 2026-01-02T15:04:05Z, or how long ago, such as 2h", c.Since)
		}
	}
	if c.URL == "" {
		creds, err := credentials(s)
		if err != nil {
			return fmt.Errorf("%w, or set --nats-url (FANMAIL_NATS_URL)", err)
		}
		c.URL = creds.NATSURL
	}
	log, err := c.Logger()
	if err != nil {
		return err
	}
	to, err := app.RewindFanout(ctx, c.NATS, c.ToSequence, since, func(step string) { s.say("· %s", step) }, log)
	if err != nil {
		return err
	}
	s.say("the fan-out goes on from sequence %d", to)
	return nil
}
