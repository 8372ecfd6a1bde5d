package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// tailPulse is how often an idle tail sends a comment, so that no proxy
	// closes the connection as idle.
	tailPulse = 15 * time.Second
)

func (s *server) tailRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "tail-events", Method: http.MethodGet, Path: "/v1/events/tail", Summary: "Tail events as they are relayed",
		Description: fmt.Sprintf("A stream of server-sent events: `event` is the type, `data` the envelope, and `id` the value of `Last-Event-ID` to resume after it. "+
			"An event can appear twice, with the same id in its envelope. The quota event_streams bounds a tenant's open tails in one process, %d by default.",
			tenancy.DefaultQuota().EventStreams),
		Responses: map[string]*huma.Response{"200": {
			Description: "The stream. It ends when the client closes it, the key is revoked, or the server stops.",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
		Errors: []int{
			http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable,
		},
	}, s.tail)
}

func (s *server) tail(ctx context.Context, in *tailInput) (*streamed, error) {
	if s.js == nil {
		return nil, problem(http.StatusServiceUnavailable, "this process has no broker")
	}
	of, limit := tenant(ctx), s.quotaOf(ctx).EventStreams
	if !s.tails.open(of, limit) {
		return nil, s.overQuota("event_streams", http.StatusTooManyRequests, "this tenant may have %d open tails in a process", limit)
	}
	feed, err := s.tailFeed(ctx, in)
	if err != nil {
		s.tails.close(of)
		s.log.Warn("starting a tail failed", zap.Error(err))
		return nil, problem(http.StatusServiceUnavailable, "the broker is unavailable; try again")
	}
	valid, stop, err := s.whileValid(ctx, caller(ctx))
	if err != nil {
		feed.close()
		s.tails.close(of)
		return nil, err
	}
	return &streamed{Body: func(hc huma.Context) {
		defer s.tails.close(of)
		defer feed.close()
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", "text/event-stream")
		hc.SetStatus(http.StatusOK)
		defer stop()
		if err := s.watch(valid, w, feed); err != nil && ctx.Err() == nil {
			s.log.Warn("a tail broke off", zap.Error(err))
		}
	}}, nil
}

// watch writes events until the client closes the connection or the process
// stops.
func (s *server) watch(ctx context.Context, w http.ResponseWriter, feed *tailFeed) error {
	control := http.NewResponseController(w)
	send := func(text []byte) error {
		if _, err := w.Write(text); err != nil {
			return fmt.Errorf("tail events: %w", err)
		}
		return control.Flush()
	}
	if err := send([]byte(": watching\n\n")); err != nil {
		return err
	}
	pulse := time.NewTicker(tailPulse)
	defer pulse.Stop()
	pause := tailPause
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stopping:
			return nil
		case <-pulse.C:
			feed.verify(ctx)
			if err := send([]byte(":\n\n")); err != nil {
				return err
			}
		case <-feed.woken:
			if pause > tailPause {
				pause = tailPause
				due.Reset(pause)
			}
		case <-due.C:
			found, more := feed.next(ctx)
			for _, m := range found {
				if text := feed.encode(m); text != nil {
					if err := send(text); err != nil {
						return err
					}
				}
			}
			switch {
			case more:
				pause = 0
			case len(found) > 0:
				pause = tailPause
			default:
				pause = min(max(2*pause, tailPause), tailPoll)
			}
			due.Reset(pause)
		}
	}
}
