package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// tailPulse is how often an idle tail sends a comment, so that no proxy
	// closes the connection as idle.
	tailPulse = 15 * time.Second
	// tailStartTimeout bounds the broker's answer when a tail starts.
	tailStartTimeout = 5 * time.Second
)

type tailInput struct {
	Types  []eventType  `query:"types,explode" maxItems:"32" doc:"Only events of these types."`
	Agents []storedText `query:"agent_id,explode" maxItems:"50" doc:"Only events of these agents."`
	Since  instant      `query:"since" doc:"Start with the events of this time. Defaults to now."`
	LastID string       `header:"Last-Event-ID" maxLength:"20" pattern:"^[0-9]+$" doc:"Start after the event with this id of the stream."`
}

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
	key, of, limit := caller(ctx).KeyID, tenant(ctx), s.quotaOf(ctx).EventStreams
	if !s.tails.open(of, limit) {
		return nil, s.overQuota("event_streams", http.StatusTooManyRequests, "this tenant may have %d open tails in a process", limit)
	}
	consumer, err := s.tailConsumer(ctx, s.js, in)
	if err != nil {
		s.tails.close(of)
		s.log.Warn("starting a tail failed", zap.Error(err))
		return nil, problem(http.StatusServiceUnavailable, "the broker is unavailable; try again")
	}
	valid, stop, err := s.whileValid(ctx, key)
	if err != nil {
		s.tails.close(of)
		return nil, err
	}
	agents := make([]string, len(in.Agents))
	for i, a := range in.Agents {
		agents[i] = mailbox.Fold(string(a))
	}
	return &streamed{Body: func(hc huma.Context) {
		defer s.tails.close(of)
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", "text/event-stream")
		hc.SetStatus(http.StatusOK)
		defer stop()
		if err := s.watch(valid, w, consumer, agents); err != nil && ctx.Err() == nil {
			s.log.Warn("a tail broke off", zap.Error(err))
		}
	}}, nil
}

// tailConsumer makes an ordered consumer of the tenant's subjects only.
func (s *server) tailConsumer(ctx context.Context, js jetstream.JetStream, in *tailInput) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tailStartTimeout, fmt.Errorf("the broker did not answer within %s", tailStartTimeout))
	defer cancel()
	c := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	for _, t := range in.Types {
		c.FilterSubjects = append(c.FilterSubjects, events.EventSubject(tenant(ctx), events.Type(t)))
	}
	if len(c.FilterSubjects) == 0 {
		c.FilterSubjects = []string{events.EventSubject(tenant(ctx), ">")}
	}
	st, err := js.Stream(ctx, stream.Events)
	if err != nil {
		return nil, err
	}
	if !in.Since.IsZero() {
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &in.Since.Time
	}
	if last, err := strconv.ParseUint(in.LastID, 10, 64); err == nil {
		// A stream that was created again begins at 1: its ids are other ones.
		if last <= st.CachedInfo().State.LastSeq {
			c.DeliverPolicy, c.OptStartTime, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, nil, last+1
		}
	}
	return st.OrderedConsumer(ctx, c)
}

// watch writes events until the client closes the connection or the process
// stops.
func (s *server) watch(ctx context.Context, w http.ResponseWriter, consumer jetstream.Consumer, agents []string) error {
	msgs := make(chan jetstream.Msg)
	over := make(chan struct{})
	defer close(over)
	feed, err := consumer.Consume(func(m jetstream.Msg) {
		select {
		case msgs <- m:
		case <-over:
		}
	}, jetstream.PullMaxMessages(100))
	if err != nil {
		return fmt.Errorf("tail events: %w", err)
	}
	defer feed.Stop()
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	send := func(text []byte) error {
		if err := control.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("tail events: %w", err)
		}
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stopping:
			return nil
		case <-pulse.C:
			err = send([]byte(":\n\n"))
		case m := <-msgs:
			if text := tailed(m, agents); text != nil {
				err = send(text)
			}
		}
		if err != nil {
			return err
		}
	}
}

// tailed encodes a message as a server-sent event; nil if its agent is not one
// of the wanted agents. An envelope is compact JSON and so is one line.
func tailed(m jetstream.Msg, agents []string) []byte {
	if len(agents) > 0 {
		if of, err := url.PathUnescape(m.Headers().Get(stream.HeaderAgent)); err != nil || !slices.Contains(agents, of) {
			return nil
		}
	}
	meta, err := m.Metadata()
	if err != nil {
		return nil
	}
	// mail.events.<tenant>.<type>
	_, typ, _ := strings.Cut(strings.TrimPrefix(m.Subject(), events.EventsPrefix), ".")
	return fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", meta.Sequence.Stream, typ, m.Data())
}
