package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// tryTime limits one attempt of a producer.
const tryTime = 10 * time.Second

// load is the producers. Each sends events at a steady pace, and retries each event under the same key
// until it is accepted.
type load struct {
	r       *rig
	tenants map[string]*tenant
	serial  atomic.Int64
	retries atomic.Int64 // attempts after an event's first
	workers sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// way is how an event is sent. It returns the event's id if the answer holds it.
type way func(ctx context.Context, t *tenant, token, agent string) (string, error)

// run starts the producers. They send no new event after ctx ends, and retry the last ones until hard
// ends. The caller waits for workers.
func (l *load) run(ctx, hard context.Context) {
	for _, w := range []struct {
		tenant, via string
		every       time.Duration
		by          func() way
	}{
		{"a", history.ViaSMTP, 300 * time.Millisecond, l.mail},
		{"a", history.ViaSMTP, 300 * time.Millisecond, l.mailAnew},
		{"a", history.ViaEdge, 400 * time.Millisecond, l.mailEdge},
		{"b", history.ViaAPI, 300 * time.Millisecond, l.post},
		{"b", history.ViaIntake, 400 * time.Millisecond, l.intake},
		{"c", "insert", 700 * time.Millisecond, l.insert},
		{"c", "insert", 700 * time.Millisecond, l.insert},
	} {
		l.workers.Go(func() {
			send := w.by()
			pace := time.NewTicker(w.every)
			defer pace.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
				if err := l.offer(hard, l.tenants[w.tenant], w.via, send); err != nil {
					l.fail(err)
					return
				}
			}
		})
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

// offer retries one event until it is accepted.
func (l *load) offer(ctx context.Context, t *tenant, via string, send way) error {
	n := l.serial.Add(1)
	o := history.Offer{
		At: l.r.now(), Via: via, Token: fmt.Sprintf("%s-%06d", t.name, n), Tenant: t.name, Agent: t.agents[int(n)%len(t.agents)],
	}
	offered := o
	l.r.history.Append(history.Record{Kind: history.KindOffered, Offer: &offered})
	tries := 0
	err := backoff.Retry(func() error {
		if tries++; tries > 1 {
			l.retries.Add(1)
		}
		ctx, cancel := context.WithTimeout(ctx, tryTime)
		defer cancel()
		var err error
		if o.Event, err = send(ctx, t, o.Token, o.Agent); err != nil {
			o.Error = err.Error()
		}
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
	if err != nil {
		return fmt.Errorf("send %s by %s: %w", o.Token, via, err)
	}
	o.At, o.Tries = l.r.now(), tries
	l.r.history.Append(history.Record{Kind: history.KindAccepted, Offer: &o})
	return nil
}

// largeMail is the size of each eighth mail: more than an ingest keeps in memory while it arrives.
const (
	largeMail = 100 << 10
	someText  = "Some text of a mail.\r\n"
)

// body is the text of a mail. It is the same whenever the mail is sent again: another text would be another mail.
func body(token string) string {
	lines := 30
	if n, err := strconv.Atoi(token[strings.LastIndexByte(token, '-')+1:]); err == nil && n%8 == 0 {
		lines = largeMail / len(someText)
	}
	return strings.Repeat(someText, lines)
}

// mail sends over SMTP, on one connection as long as it works.
func (l *load) mail() way { return l.mailOn(l.r.smtp, false) }

// mailAnew sends over SMTP, on a new connection for each mail.
func (l *load) mailAnew() way { return l.mailOn(l.r.smtp, true) }

// mailEdge sends to the edge, which has no database. Until a mail is taken in, only the broker has acknowledged it.
func (l *load) mailEdge() way { return l.mailOn(l.r.edge, false) }

func (l *load) mailOn(addr string, anew bool) way {
	var c *smtp.Client
	return func(_ context.Context, _ *tenant, token, agent string) (string, error) {
		if c == nil {
			var err error
			if c, err = smtp.Dial(addr); err != nil {
				c = nil
				return "", err
			}
			c.CommandTimeout, c.SubmissionTimeout = tryTime, tryTime
		}
		text := "From: Sender <sender@example.net>\r\nTo: <" + agent + ">\r\nSubject: " + token + "\r\nMessage-ID: <" + token +
			"@example.net>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\n"
		err := c.SendMail("sender@example.net", []string{agent}, strings.NewReader(text+body(token)))
		if err == nil && !anew {
			return "", nil
		}
		_ = c.Close()
		c = nil
		if err == nil {
			return "", nil
		}
		var refused *smtp.SMTPError
		if errors.As(err, &refused) && refused.Code >= 500 {
			return "", backoff.Permanent(err)
		}
		return "", err
	}
}

// post sends through the API.
func (l *load) post() way {
	return func(ctx context.Context, t *tenant, token, agent string) (string, error) {
		var made struct{ ID string }
		err := l.r.ask(ctx, t.key, http.MethodPost, "/v1/events", map[string]any{
			"type": events.EmailReceived, "agent_id": agent, "data": map[string]any{"subject": token}, "idempotency_key": token,
		}, &made)
		return made.ID, err
	}
}

// intake publishes to the intake subject. Until the message is taken in, only the broker has
// acknowledged it.
func (l *load) intake() way {
	return func(ctx context.Context, t *tenant, token, agent string) (string, error) {
		js, err := jetstream.New(l.r.broker)
		if err != nil {
			return "", backoff.Permanent(err)
		}
		body, err := json.Marshal(map[string]any{"type": events.EmailReceived, "agent_id": agent, "data": map[string]any{"subject": token}})
		if err != nil {
			return "", backoff.Permanent(err)
		}
		_, err = js.PublishMsg(ctx, &nats.Msg{Subject: "mail.intake." + t.id, Header: nats.Header{jetstream.MsgIDHeader: {token}}, Data: body})
		return "", err
	}
}

// insert inserts in a transaction of a Go program. Every second time it sends the relay no wake-up.
func (l *load) insert() way {
	n := 0
	return func(ctx context.Context, t *tenant, token, agent string) (string, error) {
		ev, err := event(t, token, agent)
		if err != nil {
			return "", backoff.Permanent(err)
		}
		var id events.ID
		if err := pgx.BeginFunc(ctx, l.r.pool, func(tx pgx.Tx) (err error) {
			id, err = outbox.Insert(ctx, tx, ev)
			return err
		}); err != nil {
			return "", err
		}
		if n++; n%2 == 0 {
			outbox.Wake(l.r.broker)
		}
		return id.String(), nil
	}
}

func event(t *tenant, token, agent string) (events.Event, error) {
	data, err := json.Marshal(map[string]any{"subject": token})
	if err != nil {
		return events.Event{}, err
	}
	id, err := events.Parse[events.TenantKind](t.id)
	return events.Event{TenantID: id, Type: events.EmailReceived, AgentID: agent, Data: data, IdempotencyKey: token}, err
}

// flood inserts many events of one tenant in one transaction.
func (l *load) flood(ctx context.Context, t *tenant, count int) error {
	evs := make([]events.Event, count)
	offers := make([]history.Offer, count)
	for i := range evs {
		n := l.serial.Add(1)
		o := history.Offer{At: l.r.now(), Via: "insert", Token: fmt.Sprintf("%s-%06d", t.name, n), Tenant: t.name, Agent: t.agents[int(n)%len(t.agents)]}
		offers[i] = o
		l.r.history.Append(history.Record{Kind: history.KindOffered, Offer: &o})
		var err error
		if evs[i], err = event(t, o.Token, o.Agent); err != nil {
			return err
		}
	}
	var done []outbox.Inserted
	if err := backoff.Retry(func() error {
		ctx, cancel := context.WithTimeout(ctx, tryTime)
		defer cancel()
		return pgx.BeginFunc(ctx, l.r.pool, func(tx pgx.Tx) (err error) {
			done, err = outbox.InsertMany(ctx, tx, evs)
			return err
		})
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("flood: %w", err)
	}
	for i := range offers {
		o := offers[i]
		o.At, o.Event = l.r.now(), done[i].ID.String()
		l.r.history.Append(history.Record{Kind: history.KindAccepted, Offer: &o})
	}
	return nil
}
