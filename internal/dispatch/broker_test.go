package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// large gives an event 200 KB.
func large(_ int, e *events.Event) {
	e.Data = json.RawMessage(`{"text":"` + string(bytes.Repeat([]byte("x"), 200_000)) + `"}`)
}

// refuses waits until the broker takes no event of that size.
func (r *rig) refuses(size int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := r.js.Publish(ctx, "mail.events.x.y", make([]byte, size))
		return err != nil
	}, time.Minute, time.Millisecond, "the broker is to refuse events")
}

// TestAFullAccountStopsNoDelivery fills all that the broker may store.
func TestAFullAccountStopsNoDelivery(t *testing.T) {
	t.Parallel()
	url, _ := natstest.Configured(t, `jetstream { max_file: 12582912 }`)
	r := newRigAt(t, url)
	_, err := r.js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Discard: jetstream.DiscardNew})
	require.NoError(t, err)
	require.NoError(t, stream.Ensure(context.Background(), r.js, stream.Options{}))
	r.webhook("/")
	r.relay()
	r.dispatcher()
	require.Eventually(t, func() bool {
		_, err := r.js.Publish(context.Background(), "other", make([]byte, 100_000))
		return err != nil
	}, time.Minute, time.Millisecond)
	r.refuses(100_000)
	r.insert(90, large)
	r.settles(map[string]int{"delivered": 90})
	r.insert(1)
	r.settles(map[string]int{"delivered": 91})
	r.refuses(100_000)
}

// TestAStreamThatDropsEventsBeforeTheirFanOutStopsNoDelivery has a stream that holds
// few of the events that wait for a dispatcher.
func TestAStreamThatDropsEventsBeforeTheirFanOutStopsNoDelivery(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, natstest.URL(t))
	require.NoError(t, stream.Ensure(context.Background(), r.js, stream.Options{EventsMaxBytes: 1 << 20}))
	r.webhook("/")
	r.relay()
	r.insert(60, large)
	require.Eventually(t, func() bool {
		s, err := r.js.Stream(context.Background(), stream.Events)
		return err == nil && s.CachedInfo().State.LastSeq == 60
	}, time.Minute, 10*time.Millisecond)
	r.dispatcher()
	r.settles(map[string]int{"delivered": 60})
}

// TestAStoreThatCannotBeWrittenStopsNoDelivery takes the directory of messages away.
func TestAStoreThatCannotBeWrittenStopsNoDelivery(t *testing.T) {
	t.Parallel()
	url, dir := natstest.Configured(t, ``)
	r := newRigAt(t, url)
	require.NoError(t, stream.Ensure(context.Background(), r.js, stream.Options{EventsMaxBytes: 8 << 20}))
	r.webhook("/")
	r.relay()
	r.dispatcher()
	r.insert(1)
	r.settles(map[string]int{"delivered": 1})
	msgs := filepath.Join(dir, "jetstream", "$G", "streams", stream.Events, "msgs")
	require.NoError(t, os.Rename(msgs, msgs+".away"))
	require.NoError(t, os.WriteFile(msgs, nil, 0o600))
	r.insert(90, large)
	r.settles(map[string]int{"delivered": 91})
	r.refuses(200_000)
	r.insert(1)
	r.settles(map[string]int{"delivered": 92})
}

// TestAForeignStreamThatTakesTheEventsStopsNoDelivery has somebody else's stream in the
// way of Fanmail's.
func TestAForeignStreamThatTakesTheEventsStopsNoDelivery(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, natstest.URL(t))
	_, err := r.js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"mail.>", "fanmail.>"}})
	require.NoError(t, err)
	r.webhook("/")
	r.relay()
	r.dispatcher()
	r.dispatcher()
	r.insert(30)
	r.settles(map[string]int{"delivered": 30})
	err = stream.Ensure(context.Background(), r.js, stream.Options{})
	require.ErrorContains(t, err, "AUDIT")
	// Once it is out of the way, events travel through the broker again.
	require.NoError(t, r.js.DeleteStream(context.Background(), "AUDIT"))
	require.Eventually(t, func() bool {
		r.insert(1)
		s, err := r.js.Stream(context.Background(), stream.Events)
		return err == nil && s.CachedInfo().State.LastSeq > 10
	}, time.Minute, 50*time.Millisecond)
}

// TestABrokerWithoutMemoryStopsNoDelivery has no room in memory for messages of
// deliveries, which two replicas send each other.
func TestABrokerWithoutMemoryStopsNoDelivery(t *testing.T) {
	t.Parallel()
	url, _ := natstest.Configured(t, `
		jetstream {}
		accounts { FANMAIL { jetstream { max_mem: 1MB, max_file: 64MB }, users: [ {user: fanmail, password: fanmail} ] } }
		no_auth_user: fanmail`)
	r := newRigAt(t, url)
	require.NoError(t, stream.Ensure(context.Background(), r.js, stream.Options{Log: r.log}))
	for i := range 20 {
		r.webhook(fmt.Sprint("/", i))
	}
	r.relay()
	r.dispatcher()
	r.dispatcher()
	r.insert(30)
	r.settles(map[string]int{"delivered": 600})
	s, err := r.js.Stream(context.Background(), stream.Deliveries)
	require.NoError(t, err)
	require.Equal(t, jetstream.FileStorage, s.CachedInfo().Config.Storage)
}

// TestAStreamOfDeliveriesThatTakesNothingStopsNoDelivery fills the memory that holds
// it, so that replicas can't send each other messages.
func TestAStreamOfDeliveriesThatTakesNothingStopsNoDelivery(t *testing.T) {
	t.Parallel()
	url, _ := natstest.Configured(t, `
		jetstream {}
		accounts { FANMAIL { jetstream { max_mem: 16MB, max_file: 64MB }, users: [ {user: fanmail, password: fanmail} ] } }
		no_auth_user: fanmail`)
	r := newRigAt(t, url)
	require.NoError(t, stream.Ensure(context.Background(), r.js, stream.Options{Log: r.log}))
	_, err := r.js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Storage: jetstream.MemoryStorage, Discard: jetstream.DiscardNew})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := r.js.Publish(context.Background(), "other", make([]byte, 100_000))
		return err != nil
	}, time.Minute, time.Millisecond)
	for i := range 20 {
		r.webhook(fmt.Sprint("/", i))
	}
	r.relay()
	r.dispatcher()
	r.dispatcher()
	for range 10 {
		r.insert(10)
	}
	r.settles(map[string]int{"delivered": 2000})
}

// TestAClusterWithoutAQuorumStopsNoDelivery stops two of three nodes: the third takes
// connections, and its JetStream answers nothing.
func TestAClusterWithoutAQuorumStopsNoDelivery(t *testing.T) {
	t.Parallel()
	url, stopOthers := natstest.Cluster(t)
	r := newRigAt(t, url)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return stream.Ensure(ctx, r.js, stream.Options{Replicas: 3}) == nil
	}, time.Minute, 10*time.Millisecond)
	for i := range 20 {
		r.webhook(fmt.Sprint("/", i))
	}
	r.relay()
	r.dispatcher()
	r.dispatcher()
	r.insert(10)
	r.settles(map[string]int{"delivered": 200})
	stopOthers()
	for n := range 3 {
		r.insert(10)
		r.settles(map[string]int{"delivered": 400 + 200*n})
	}
}
