package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

type fanoutCmd struct {
	Reset fanoutReset `cmd:"" help:"Set the fan-out's consumer to a point in the past. Events that were fanned out are skipped."`
}

type fanoutReset struct {
	app.NATS
	app.Waiting
	app.Logging
	ToSequence uint64 `placeholder:"N" help:"Start at this sequence of MAIL_EVENTS. 1 is the first."`
	Since      string `placeholder:"TIME" help:"Start at the first event relayed since this time: RFC 3339, or how long ago, such as 2h."`
}

// Run resets the consumer. The broker defaults to the one of `fanmail up`.
func (c *fanoutReset) Run(ctx context.Context, s *session) error {
	if (c.ToSequence == 0) == (c.Since == "") {
		return errors.New("set one of --to-sequence or --since")
	}
	var since time.Time
	if c.Since != "" {
		var err error
		if since, err = parseTime(c.Since, time.Now()); err != nil {
			return fmt.Errorf("--since is %q; it must be %s", c.Since, timeFormats)
		}
	}
	if c.URL == "" {
		creds, err := credentials(s)
		if err != nil {
			return fmt.Errorf("%w, or set --nats-url (FANMAIL_NATS_URL)", err)
		}
		c.URL = secret.Text(creds.NATSURL)
	}
	log, err := c.Logger()
	if err != nil {
		return err
	}
	to, err := app.RewindFanout(ctx, c.NATS, c.Waiting, c.ToSequence, since, func(step string) { s.say("· %s", step) }, log)
	if err != nil {
		return err
	}
	s.say("the fan-out goes on from sequence %d", to)
	return nil
}
