package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

type fanoutCmd struct {
	Reset fanoutReset `cmd:"" help:"Set the fan-out's consumer to a point in the past. Events that were fanned out are skipped; --resend sends them again." example:"fanmail fanout reset --since 2h"`
}

type fanoutReset struct {
	Broker   app.NATS     `embed:""`
	Database app.Database `embed:""`
	app.Waiting
	app.Logging
	ToSequence uint64   `placeholder:"N" help:"Start at this sequence of MAIL_EVENTS. 1 is the first."`
	Since      string   `placeholder:"TIME" help:"Start at the first event relayed since this time: RFC 3339, or how long ago, such as 2h."`
	Resend     bool     `help:"Then send the events from there on again, to all enabled webhooks that match: one replay for each tenant. It needs the database."`
	Tenants    []string `name:"tenant" placeholder:"ID" help:"With --resend: only events of this tenant. May be repeated." of:"tenant"`
	Detach     bool     `help:"With --resend: do not wait for the end of the replays."`
}

// Run resets the consumer. Broker and database default to those of `fanmail up`.
func (c *fanoutReset) Run(ctx context.Context, s *session) error {
	since, tenants, err := c.parse()
	if err != nil {
		return err
	}
	if err := c.complete(s); err != nil {
		return err
	}
	log, err := c.Logger()
	if err != nil {
		return err
	}
	r, err := app.RewindFanout(ctx, c.Broker, c.Waiting, c.ToSequence, since, func(step string) { s.say("· %s", step) }, log)
	if err != nil {
		return err
	}
	s.say("the fan-out goes on from sequence %d", r.To)
	sayRewound(s, r, c.Resend)
	if !c.Resend {
		return nil
	}
	if r.Since.IsZero() {
		s.say("there is no event to send again")
		return nil
	}
	if !since.IsZero() && since.Before(r.Since) {
		r.Since = since
	}
	return c.resend(ctx, s, app.ResendRequest{Since: r.Since, Tenants: tenants, Detach: c.Detach})
}

func (c *fanoutReset) parse() (since time.Time, tenants []events.TenantID, err error) {
	if (c.ToSequence == 0) == (c.Since == "") {
		return since, nil, errors.New("set one of --to-sequence or --since")
	}
	if !c.Resend && (c.Detach || len(c.Tenants) > 0) {
		return since, nil, errors.New("--tenant and --detach go with --resend")
	}
	if c.Since != "" {
		if since, err = parseTime(c.Since, time.Now()); err != nil {
			return since, nil, fmt.Errorf("--since is %q; it must be %s", c.Since, timeFormats)
		}
	}
	for _, text := range c.Tenants {
		id, err := events.Parse[events.TenantKind](text)
		if err != nil {
			return since, nil, fmt.Errorf("--tenant: %w", err)
		}
		tenants = append(tenants, id)
	}
	return since, tenants, nil
}

// complete fills in the broker and the database of `fanmail up`.
func (c *fanoutReset) complete(s *session) error {
	if c.Broker.URL != "" && (c.Database.URL != "" || !c.Resend) {
		return nil
	}
	creds, err := credentials(s)
	if err != nil && c.Broker.URL == "" {
		return fmt.Errorf("%w, or set --nats-url (FANMAIL_NATS_URL)", err)
	}
	if err != nil {
		return fmt.Errorf("%w, or set --database-url (FANMAIL_DATABASE_URL)", err)
	}
	if c.Broker.URL == "" {
		c.Broker.URL = secret.Text(creds.NATSURL)
	}
	if c.Database.URL == "" {
		c.Database.URL = secret.Text(creds.DatabaseURL)
	}
	return nil
}

// sayRewound says what became of the events that came again, and how to send them again unless that follows.
func sayRewound(s *session, r app.Rewound, resend bool) {
	switch {
	case r.Again == 0:
		s.say("no event comes again: the fan-out had not met any from there on")
	case r.Met == 0:
		s.say("%d events come again, and no dispatcher takes them now; one that does skips those that were fanned out already", r.Again)
	default:
		s.say("met %d of %d events again: %d were fanned out already and are skipped, %d were not and are fanned out", r.Met, r.Again, r.Already, r.Met-r.Already)
	}
	if r.Again > 0 && !r.Since.IsZero() && !resend {
		s.say("nothing is sent again by this; to send again: fanmail replay --mode all --since %s, or --resend here", r.Since.UTC().Format(time.RFC3339Nano))
	}
}

func (c *fanoutReset) resend(ctx context.Context, s *session, q app.ResendRequest) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	bar := s.progress(1, "sending again")
	list, err := app.Resend(ctx, c.Database, c.Broker, q, func(done, total int64) { bar.set("sending again", done, total) }, log)
	bar.finish()
	failed := int64(0)
	for i := range list {
		r := &list[i]
		failed += r.Failed
		s.say("replay %s of tenant %s is %s: matched %d, delivered %d, failed %d", r.ID, r.TenantID, r.State, r.Matched, r.Delivered, r.Failed)
	}
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		s.say("no tenant has an event to send again")
	case failed > 0:
		return fmt.Errorf("%d deliveries failed", failed)
	}
	return nil
}
