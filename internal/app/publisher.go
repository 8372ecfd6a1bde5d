package app

import (
	"context"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/engine"
)

// PublisherConfig configures the process that relays the outbox.
type PublisherConfig struct {
	Database
	NATS
	Lifecycle
	Logging
}

// Validate returns an error for the first setting that is wrong.
func (c PublisherConfig) Validate() error {
	return firstError(c.Database.validate, c.NATS.validate, c.Lifecycle.validate)
}

// RunPublisher relays the outbox to the broker until ctx ends.
func RunPublisher(ctx context.Context, c PublisherConfig, log *zap.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return runProcess(ctx, "publisher", c.Database, c.NATS, c.Lifecycle, log, func(_ context.Context, p *process) error {
		p.addPublisher()
		return nil
	})
}

func (p *process) addPublisher() {
	part := engine.Publisher(p.conn(), engine.Options{Streams: p.streams, Log: p.log, Registerer: p.registry, Tracer: p.traces.Tracer()})
	p.addPart(part)
}
