package attempt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// brokerWrite bounds a write to a broker, which holds up all attempts over the connection.
	brokerWrite = 5 * time.Second
	// errSize is JetStream's code of a message that is larger than its stream accepts.
	errSize = 10054
)

// errLostBroker is the cause of attempts whose connection has ended.
var errLostBroker = fmt.Errorf("the connection to the broker ended: %w", net.ErrClosed)

// place is what a connection depends on. The settings are those of one tenant: credentials serve nobody else.
type place struct {
	url      string
	settings [sha256.Size]byte
}

// broker is one connection. It is not opened again: the next attempt opens another.
type broker struct {
	at place

	ready  chan struct{} // closed when it is connected, or failed
	failed error
	nc     *nats.Conn
	js     jetstream.JetStream
	lost   chan struct{} // closed when the connection has ended
	ending sync.Once
	why    error // once lost is closed

	waits waits

	// Under the lock of the brokers.
	hooks    map[[16]byte]bool // the webhooks that use it
	attempts int
	used     time.Time
	dropped  bool        // no attempt begins any more; it is closed when the last one ends
	resting  *time.Timer // nil before the first attempt has ended
}

func (b *broker) ended() bool {
	select {
	case <-b.lost:
		return true
	default:
		return false
	}
}

// lose says why the connection has ended; the first reason counts.
func (b *broker) lose(why error) {
	b.ending.Do(func() {
		b.why = why
		close(b.lost)
	})
}

// connect connects once. Nothing is tried again here: the delivery has a schedule. leaving is called when the broker says
// that it is about to stop.
func (b *broker) connect(u *url.URL, e *Endpoint, d *dialer, leaving func()) {
	defer close(b.ready)
	via := &brokerDialer{dialer: d, encrypted: u.Scheme == "tls", host: u.Hostname()}
	options := []nats.Option{
		nats.Name("Fanmail"), nats.SetCustomDialer(via), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers(), nats.NoReconnect(),
		nats.Timeout(handshakeTimeout), nats.FlusherTimeout(brokerWrite),
		nats.ClosedHandler(func(nc *nats.Conn) { b.lose(errors.Join(errLostBroker, nc.LastError())) }),
		nats.LameDuckModeHandler(func(*nats.Conn) { leaving() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if err != nil && !b.waits.refuse(err) {
				b.lose(err) // such as no permission for the inbox: no answer would come
			}
		}),
	}
	signIn, err := e.signIn()
	if err == nil {
		b.nc, err = nats.Connect("nats://"+u.Host, append(options, signIn...)...) // without a port: 4222
	}
	if err == nil {
		b.js, err = jetstream.New(b.nc)
	} else if failed := via.failure(); failed != nil {
		err = failed // the client says only that there is no server
	} else {
		err = via.lastWord(err)
	}
	if err != nil {
		b.failed = err
		b.lose(err)
	}
}

func (b *broker) close() {
	<-b.ready
	if b.nc != nil {
		b.nc.Close()
	}
}

// publish publishes a message, and waits until it is stored. It returns when ctx ends, also while a write is held up.
func (b *broker) publish(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	size := int64(m.Size() - len(m.Subject))
	w := b.waits.begin(m.Subject)
	defer b.waits.end(w)
	type answer struct {
		ack *jetstream.PubAck
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		ack, err := b.js.PublishMsg(waiting, m, jetstream.WithRetryAttempts(0))
		answers <- answer{ack, err}
	}()
	select {
	case a := <-answers:
		if errors.Is(a.err, nats.ErrConnectionClosed) {
			// What the broker said before it ended the connection comes by a callback, which runs before the one that sets lost.
			select {
			case <-b.lost:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if a.err != nil && b.ended() {
			a.err = b.why
		}
		return a.ack, b.fault(a.err, size)
	case err := <-w.refused:
		return nil, err
	case <-b.lost:
		return nil, b.fault(b.why, size)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// fault says with its figures that a message is larger than the broker accepts. A broker that gets such a message ends the
// connection, so that messages of other attempts, which were not too large, are lost with it: these say that.
func (b *broker) fault(err error, size int64) error {
	var answer *jetstream.APIError
	if errors.As(err, &answer) && answer.ErrorCode == errSize {
		named := *answer
		named.Description += fmt.Sprintf(": the message has %d bytes with its headers, and the limit is max_msg_size of the stream", size)
		return &named
	}
	if err == nil || !errors.Is(err, nats.ErrMaxPayload) && !strings.Contains(said(err), "Maximum Payload Violation") {
		return err
	}
	if most := b.nc.MaxPayload(); size > most {
		return &unmade{reason: ReasonRequest, text: fmt.Sprintf("the message has %d bytes with its headers; the broker's max_payload for the account is %d", size, most)}
	}
	return errLostBroker
}

// said is what the broker, or its client, said when it ended a connection; "" if nothing.
func said(err error) string {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if text, ok := strings.CutPrefix(line, "nats: "); ok {
			return text
		}
	}
	return ""
}

// waits are the attempts of a connection that wait for an answer.
type waits struct {
	mu  sync.Mutex
	all map[*wait]bool
}

type wait struct {
	subject string
	refused chan error // holds one
}

func (s *waits) begin(subject string) *wait {
	w := &wait{subject: subject, refused: make(chan error, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*wait]bool)
	}
	s.all[w] = true
	return w
}

func (s *waits) end(w *wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
}

// refuse reports whether an error is about the permission to publish on one subject. It ends the attempts that wait there:
// the answer to their messages would never come. Those at other subjects go on.
func (s *waits) refuse(err error) bool {
	text := err.Error()
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(text, "for Publish to ") {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.all {
		if strings.HasSuffix(text, fmt.Sprintf("for Publish to %q", w.subject)) {
			select {
			case w.refused <- err:
			default: // it was refused already
			}
		}
	}
	return true
}
