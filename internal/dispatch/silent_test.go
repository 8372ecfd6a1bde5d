package dispatch_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// wire is a proxy between one client and a server.
type wire struct {
	t        *testing.T
	addr, to string
	gate     sync.RWMutex // locked while the wire is frozen

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	w := &wire{t: t, addr: "127.0.0.1:0", to: to}
	w.open()
	t.Cleanup(w.cut)
	return w
}

// open accepts connections, at the same address as before.
func (w *wire) open() {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", w.addr)
	require.NoError(w.t, err)
	w.mu.Lock()
	w.listener, w.addr = l, l.Addr().String()
	w.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", w.to)
			if err != nil {
				_ = c.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, c, up)
			w.mu.Unlock()
			go w.pump(c, up)
			go w.pump(up, c)
		}
	}()
}

func (w *wire) pump(from, to net.Conn) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.gate.RLock()
		_, failed := to.Write(buf[:n])
		w.gate.RUnlock()
		if err != nil || failed != nil {
			return
		}
	}
}

// cut closes the connections and accepts no more.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.listener.Close()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// apart is a rig whose fan-out and whose owner of all partitions are two processes. The
// owner reaches the broker through a wire of its own.
type apart struct {
	*rig
	wire    *wire
	unheard func() int
}

func newApart(t *testing.T) *apart {
	t.Helper()
	ctx := context.Background()
	r := newRig(t)
	for p := range events.Partitions {
		_, err := r.js.CreateConsumer(ctx, stream.Deliveries, stream.PartitionConsumer(p))
		require.NoError(t, err)
	}
	a := &apart{rig: r, wire: newWire(t, strings.TrimPrefix(r.natURL, "nats://"))}
	registry := subscribers.NewRegistry(r.pool, r.nc, r.log)
	require.NoError(t, registry.Load(ctx))
	r.run(registry.Run)
	r.run(fanout.New(r.pool, r.js, registry, fanout.Options{Log: r.log.Named("first")}).Run)

	nc, err := nats.Connect(a.wire.addr, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := stream.Open(nc, "")
	require.NoError(t, err)
	pool := r.open()
	owners := subscribers.NewRegistry(pool, nc, r.log)
	require.NoError(t, owners.Load(ctx))
	r.run(owners.Run)
	reg := prometheus.NewRegistry()
	d, err := dispatch.New(pool, nc, js, owners, dispatch.Options{
		Name: "owner", AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Drain: 5 * time.Second,
		Log: r.log.Named("owner"), Registerer: reg, Streams: stream.Options{External: true},
	})
	require.NoError(t, err)
	r.run(d.Run)
	require.Eventually(t, func() bool { return d.Ready() == nil }, time.Minute, 10*time.Millisecond)
	a.unheard = func() int {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "fanmail_dispatch_unheard_total" {
				return int(f.GetMetric()[0].GetCounter().GetValue())
			}
		}
		return -1
	}
	return a
}

// TestDeliveriesGoOnWhileTheirMessagesDoNotCome has the fan-out publish messages of which their owner
// gets none. It takes the rows from the table, and sends none of them again when the messages come.
func TestDeliveriesGoOnWhileTheirMessagesDoNotCome(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	each := func(t *testing.T, f func(p int) error) {
		t.Helper()
		for p := range events.Partitions {
			require.NoError(t, f(p))
		}
	}
	for name, fault := range map[string]func(t *testing.T, a *apart) (mend func()){
		"the consumers hand out nothing": func(t *testing.T, a *apart) func() {
			t.Helper()
			pause := func(until time.Time) {
				each(t, func(p int) error {
					_, err := a.js.PauseConsumer(ctx, stream.Deliveries, stream.PartitionConsumerName(p), until)
					return err
				})
			}
			pause(time.Now().Add(time.Hour))
			return func() { pause(time.Now()) }
		},
		"the consumers are gone": func(t *testing.T, a *apart) func() {
			t.Helper()
			each(t, func(p int) error { return a.js.DeleteConsumer(ctx, stream.Deliveries, stream.PartitionConsumerName(p)) })
			return func() {
				each(t, func(p int) error {
					_, err := a.js.CreateConsumer(ctx, stream.Deliveries, stream.PartitionConsumer(p))
					return err
				})
			}
		},
		"the owner is cut off": func(t *testing.T, a *apart) func() {
			t.Helper()
			a.wire.cut()
			return a.wire.open
		},
		"the broker does not answer the owner": func(t *testing.T, a *apart) func() {
			t.Helper()
			a.wire.gate.Lock()
			return a.wire.gate.Unlock
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const webhooks, evs = 12, 5
			a := newApart(t)
			for i := range webhooks {
				a.webhook(fmt.Sprint("/", i))
			}
			a.relay()
			a.insert(evs)
			a.settles(map[string]int{"delivered": webhooks * evs})
			require.Zero(t, a.unheard(), "while messages come, none is taken from the table")
			mend := fault(t, a)
			for n := range 2 {
				a.insert(evs)
				a.settles(map[string]int{"delivered": webhooks * evs * (n + 2)})
			}
			// On a slow machine the first lease of some rows ends before, and they are taken for that.
			require.Positive(t, a.unheard(), "rows are taken from the table before their first lease ends")
			mend()
			a.insert(evs)
			a.settles(map[string]int{"delivered": webhooks * evs * 4})
			for p := range events.Partitions {
				c, err := a.js.Consumer(ctx, stream.Deliveries, stream.PartitionConsumerName(p))
				require.NoError(t, err)
				require.Eventually(t, func() bool {
					info, err := c.Info(ctx)
					return err == nil && info.NumPending == 0 && info.NumAckPending == 0
				}, time.Minute, 10*time.Millisecond)
			}
			require.Equal(t, webhooks*evs*4, a.sink.Count(), "late messages are dropped")
		})
	}
}
