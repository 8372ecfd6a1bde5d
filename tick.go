package fanmail

import (
	"context"
	"fmt"

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
func (c *Client) Tick(ctx context.Context) error {
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
	if err := engine.Round(ctx, pool, c.options()); err != nil {
		return fmt.Errorf("fanmail: %w", err)
	}
	return nil
}
