package fanmail

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/engine"
)

// Tick does one round of what Run does, without the broker, and returns when it is
// recorded: events that were committed before the call are fanned out, every
// delivery that is due gets its attempt, replays go on, and maintenance runs. A
// failed delivery waits for its next attempt's time; Tick does not wait for it.
//
// Tick is meant for tests and for programs that deliver on a schedule, instead of
// Run. It may be called while another process runs: each delivery is in the hands
// of one of them, and Tick leaves alone what another one holds. If ctx ends first,
// Tick returns an error; deliveries that were not sent stay due, and one whose POST
// was cut off is due again within minutes. Tick opens as many connections as Run.
func (c *Client) Tick(ctx context.Context) error { return c.round(ctx, engine.Round) }

// TickDeliveries does the part of Tick that attempts the deliveries to webhooks which
// are due: new ones, retries and replayed ones. It fans out nothing.
func (c *Client) TickDeliveries(ctx context.Context) error {
	return c.round(ctx, engine.RoundDeliveries)
}

// TickAgents does the part of Tick that attempts the deliveries to agents' own webhooks
// which are due.
func (c *Client) TickAgents(ctx context.Context) error { return c.round(ctx, engine.RoundAgents) }

// TickAutoDisable does the part of Tick that disables webhooks whose deliveries only
// fail, and deletes previous signing secrets whose time is over. It does nothing while
// another process does maintenance.
func (c *Client) TickAutoDisable(ctx context.Context) error {
	return c.round(ctx, engine.RoundAutoDisable)
}

// round does a round of work on connections of its own.
func (c *Client) round(ctx context.Context, do func(context.Context, *pgxpool.Pool, engine.Options) error) error {
	if err := c.ready(); err != nil {
		return err
	}
	pool, err := engine.Pool(ctx, c.pool, runConns)
	if err != nil {
		return fmt.Errorf("fanmail: %w", err)
	}
	defer pool.Close()
	if err := prepareDatabase(ctx, pool); err != nil {
		return err
	}
	if err := do(ctx, pool, c.options()); err != nil {
		return fmt.Errorf("fanmail: %w", err)
	}
	return nil
}
