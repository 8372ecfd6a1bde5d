package subscribers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// Poll leases due deliveries of a webhook of [KindPull] to the caller, in the order of
// their events. Two calls never hold the same delivery. [Store.Ack] ends a lease;
// otherwise the delivery is due again when it runs out, with as many attempts as before.
//
// If the webhook's ordering is strict, the order is exact: while one delivery is leased or
// waits for its next attempt, no later one is leased.
//
// The call waits for up to r.Wait if nothing is due, without a connection to the
// database. nc brings the hints. One statement looks for all calls of the store that
// wait: every 5 s, or every 200 ms with a nil nc. A store inside a transaction can't wait.
// It returns no delivery if nothing comes, [ErrNotFound] if the tenant has no such webhook, [ErrPush], [ErrDisabled],
// or an [*events.FieldError].
func (s *Store) Poll(ctx context.Context, nc *nats.Conn, tenant events.TenantID, webhook events.WebhookID, r PollRequest) ([]Polled, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Wait == 0 {
		list, _, err := s.leasePolled(ctx, tenant, webhook, &r)
		return list, err
	}
	if _, inside := s.db.(pgx.Tx); inside {
		return nil, &events.FieldError{Field: "wait", Reason: "is for a store on a pool; a transaction would be held open"}
	}
	told := make(chan struct{}, 1)
	stop, err := s.listen(ctx, nc, webhook, told)
	if err != nil {
		return nil, err
	}
	defer stop()
	end := time.NewTimer(r.Wait)
	defer end.Stop()
	for {
		// The hints come first: a delivery that this does not see gives one.
		list, again, err := s.leasePolled(ctx, tenant, webhook, &r)
		if err != nil || len(list) > 0 {
			return list, err
		}
		look := time.NewTimer(again)
		over := false
		select {
		case <-ctx.Done():
			err = fmt.Errorf("poll deliveries: %w", context.Cause(ctx))
		case <-r.Stop:
			over = true
		case <-end.C:
			over = true
		case <-told:
		case <-look.C:
		}
		look.Stop()
		if over || err != nil {
			return nil, err
		}
	}
}

// listen has told signalled by the hints of a webhook's due deliveries, and by the [watch].
func (s *Store) listen(ctx context.Context, nc *nats.Conn, webhook events.WebhookID, told chan<- struct{}) (stop func(), err error) {
	if nc == nil {
		return s.watch.join(webhook, told, true), nil //nolint:contextcheck // the watch serves other polls too
	}
	sub, err := nc.Subscribe(events.WakePolls(webhook), func(*nats.Msg) { signal(told) })
	if err != nil {
		return nil, fmt.Errorf("listen for deliveries to poll: %w", err)
	}
	// The broker knows of the subscription before the next look. If it is away, the watch looks.
	flush, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = nc.FlushWithContext(flush)
	leave := s.watch.join(webhook, told, false) //nolint:contextcheck // the same
	return func() {
		leave()
		_ = sub.Unsubscribe()
	}, nil
}
