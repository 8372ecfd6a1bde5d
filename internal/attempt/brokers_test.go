package attempt

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// ofTenant is the endpoint of a tenant's webhook with the credentials of the user a.
func ofTenant(t *testing.T, tenant, id [16]byte, subject string) *Endpoint {
	t.Helper()
	e, err := NewEndpoint(tenant, id, &endpoint.Settings{Subject: subject, Auth: basic("a")}, 0)
	require.NoError(t, err)
	return e
}

// opens waits until a poster has a number of connections.
func (p *Poster) opens(t *testing.T, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return p.openConnections() == n }, time.Minute, time.Millisecond)
}

func TestWebhooksOfATenantWithTheSameCredentialsShareAConnectionToTheBroker(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	s := c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	endpoints := make([]*Endpoint, 100)
	for i := range endpoints {
		endpoints[i] = ofTenant(t, [16]byte{1}, [16]byte{byte(i)}, "mail.in")
	}
	var all sync.WaitGroup
	for i, e := range endpoints {
		all.Go(func() {
			r := p.Post(t.Context(), message(t, "nats://"+c.addr, e, fmt.Sprint("evt_", i), "{}"))
			if !r.Delivered {
				t.Errorf("%+v", r)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, p.openConnections())
	info, err := s.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 100, info.State.Msgs)
	require.True(t, p.Post(t.Context(), message(t, "nats://"+c.addr, ofTenant(t, [16]byte{2}, [16]byte{200}, "mail.in"), "evt_2", "{}")).Delivered)
	require.EqualValues(t, 2, p.openConnections(), "credentials serve no other tenant")
	for i, e := range endpoints {
		require.Len(t, p.brokers.byPlace, 2, "%d webhooks have left it", i)
		p.Forget(e.id, func() *Endpoint { return nil })
	}
	p.opens(t, 1)
}

func TestAConnectionToABrokerEndsWithTheLastWebhookThatHasItsSettings(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	c.stream("a", nil)
	c.stream("b", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	e := brokerEndpoint(t, 1, basic("a"))
	post := func(at string, e *Endpoint) {
		t.Helper()
		require.True(t, p.Post(t.Context(), message(t, at, e, fmt.Sprint("evt_", time.Now().UnixNano()), "{}")).Delivered)
	}
	post("nats://"+c.addr, e)
	p.Forget(e.id, func() *Endpoint { return e })
	require.Len(t, p.brokers.byPlace, 1, "nothing has changed")
	other := brokerEndpoint(t, 1, basic("b"))
	p.Forget(e.id, func() *Endpoint { return other })
	p.opens(t, 0)
	post("nats://"+c.addr, e)
	post("nats://"+c.addr, other)
	p.opens(t, 1)
	require.Len(t, p.brokers.byHook, 1)
	p.Forget(e.id, func() *Endpoint { return nil })
	p.opens(t, 0)
	require.Empty(t, p.brokers.byHook)
	require.Empty(t, p.brokers.byPlace)
}

func TestAConnectionToABrokerThatNoAttemptUsesIsClosedAfterAWhile(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	p.brokers.idle = time.Millisecond
	e := brokerEndpoint(t, 1, basic("a"))
	for i := range 3 {
		require.True(t, p.Post(t.Context(), message(t, "nats://"+c.addr, e, fmt.Sprint("evt_", i), "{}")).Delivered)
		p.opens(t, 0)
	}
	require.Empty(t, p.brokers.byPlace)
	require.Empty(t, p.brokers.byHook)

	// An attempt that waits for its answer keeps the connection, whatever the time.
	read := make(chan struct{})
	at := rogue(t, func(conn net.Conn, in *bufio.Reader) {
		accept(conn, in)
		_, _ = in.ReadString(' ')
		close(read)
		_, _ = in.ReadString(0)
	})
	ctx, stop := context.WithCancelCause(t.Context())
	done := make(chan Result, 1)
	go func() { done <- p.Post(ctx, message(t, "nats://"+at, brokerEndpoint(t, 2, nil), "evt_1", "{}")) }()
	<-read
	p.brokers.mu.Lock()
	b := p.brokers.byHook[[16]byte{2}]
	p.brokers.mu.Unlock()
	require.NotNil(t, b)
	p.brokers.rest(b)
	require.False(t, b.dropped)
	stop(ErrStopped)
	r := <-done
	require.True(t, r.Stopped())
	p.opens(t, 0)
}

func TestConnectionsToBrokersAreBounded(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "max_connections: 2000\n")
	c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	for i := range maxBrokers + 20 {
		e := ofTenant(t, [16]byte{byte(i), byte(i >> 8)}, [16]byte{2, byte(i), byte(i >> 8)}, "mail.in")
		require.True(t, p.Post(t.Context(), message(t, "nats://"+c.addr, e, fmt.Sprint("evt_", i), "{}")).Delivered)
	}
	p.opens(t, maxBrokers)
	require.Nil(t, p.brokers.byHook[[16]byte{2}], "the first one gave way")
	p.Close()
	p.opens(t, 0)
}

func TestASubjectThatIsNotPermittedHoldsUpNoOtherOfTheConnection(t *testing.T) {
	t.Parallel()
	c := startCustomer(t, "")
	c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	good := func(i int) {
		r := p.Post(t.Context(), message(t, "nats://"+c.addr, ofTenant(t, [16]byte{1}, [16]byte{1}, "mail.in"), fmt.Sprint("evt_", i), "{}"))
		require.True(t, r.Delivered, "%+v", r)
	}
	good(0)
	before := p.brokers.byHook[[16]byte{1}]
	bad := ofTenant(t, [16]byte{1}, [16]byte{2}, "forbidden")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r := p.Post(t.Context(), message(t, "nats://"+c.addr, bad, fmt.Sprint("bad_", i), "{}"))
			if r.Reason != ReasonClient || r.Error != `the broker answered: Permissions Violation for Publish to "forbidden"` {
				t.Errorf("%+v", r)
			}
		})
		good(i + 1)
	}
	all.Wait()
	require.Same(t, before, p.brokers.byHook[[16]byte{1}], "the connection is the same")
}

// A broker that ends kept connections, as one does that is restarted, costs no attempt.
func TestAKeptConnectionThatTheBrokerEndsCostsNoAttempt(t *testing.T) {
	t.Parallel()
	o := startOperated(t)
	a := o.account(unlimited)
	a.stream()
	text := a.user(nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	e := brokerEndpoint(t, 1, creds(text))
	for i := range 20 {
		r := p.Post(t.Context(), message(t, o.url(), e, fmt.Sprint("evt_", i), "{}"))
		require.True(t, r.Delivered, "%d: %+v", i, r)
		require.NoError(t, o.srv.DisconnectClientByID(p.brokers.byHook[e.id].clientID(t)))
	}
}

func (b *broker) clientID(t *testing.T) uint64 {
	t.Helper()
	id, err := b.nc.GetClientID()
	require.NoError(t, err)
	return id
}

// A broker in lame duck mode answers on its connections until it ends them, and takes no new one.
func TestABrokerThatIsAboutToStopGetsNoMoreAttempts(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: natstest.MaxStore, NoSigs: true, NoLog: true,
		Users:            []*server.User{{Username: "a", Password: "secret-a"}},
		LameDuckDuration: 2 * time.Hour, LameDuckGracePeriod: time.Hour,
	})
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	require.True(t, srv.ReadyForConnections(20*time.Second))
	c := &customer{t: t, addr: srv.Addr().String()}
	c.stream("a", nil)
	p := NewPoster(local())
	t.Cleanup(p.Close)
	e := brokerEndpoint(t, 1, basic("a"))
	require.True(t, p.Post(t.Context(), message(t, "nats://"+c.addr, e, "evt_1", "{}")).Delivered)
	go srv.LameDuckShutdown()
	p.opens(t, 0)
	r := p.Post(t.Context(), message(t, "nats://"+c.addr, e, "evt_2", "{}"))
	require.Equal(t, ReasonRefused, r.Reason, "%+v", r)
	require.Equal(t, textRefused, r.Error)
	require.True(t, r.Overload(), "it is tried again later")
}
