package stream_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

func TestAConsumerWithoutItsDirectoryIsCreatedAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	server, err := devserver.StartNATS(devserver.NATSOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	nc, err := nats.Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	require.NoError(t, stream.Ensure(ctx, js, stream.Options{}))
	_, err = js.Publish(ctx, "mail.events.x.y", []byte("hello"))
	require.NoError(t, err)

	found, err := filepath.Glob(filepath.Join(dir, "*", "*", "streams", stream.Events, "obs", stream.Fanout))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, os.RemoveAll(found[0]))
	config := stream.FanoutConsumer()
	config.Description = "Changed, so that the server has something to save."
	received := make(chan jetstream.Msg, 1)
	done := make(chan error, 1)
	go func() {
		done <- stream.Source{JS: js, Stream: stream.Events, Consumer: config, Ahead: 1, Log: zaptest.NewLogger(t)}.Run(ctx, func(m jetstream.Msg) { received <- m })
	}()
	select {
	case m := <-received:
		require.NoError(t, m.Ack())
	case <-time.After(time.Minute):
		t.Error("no message was received")
	}
	cancel()
	require.NoError(t, <-done)
	require.DirExists(t, found[0])
}
