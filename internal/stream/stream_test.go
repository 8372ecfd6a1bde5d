package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

func connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(natstest.URL(t))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

func TestEnsureCreatesStreamsAndIsIdempotent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	js := connect(t)
	for range 2 {
		require.NoError(t, stream.Ensure(ctx, js, stream.Options{}))
	}
	s, err := js.Stream(ctx, stream.Events)
	require.NoError(t, err)
	cfg := s.CachedInfo().Config
	require.Equal(t, jetstream.AsyncPersistMode, cfg.PersistMode)
	require.Equal(t, 30*24*time.Hour, cfg.MaxAge)
}

func TestEnsureKeepsTheOperatorsHigherLimits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	js := connect(t)
	require.NoError(t, stream.Ensure(ctx, js, stream.Options{}))
	s, err := js.Stream(ctx, stream.Events)
	require.NoError(t, err)
	cfg := s.CachedInfo().Config
	cfg.MaxAge = 90 * 24 * time.Hour
	cfg.Description = "an older release's words"
	_, err = js.UpdateStream(ctx, cfg)
	require.NoError(t, err)
	require.NoError(t, stream.Ensure(ctx, js, stream.Options{}))
	s, err = js.Stream(ctx, stream.Events)
	require.NoError(t, err)
	require.Equal(t, 90*24*time.Hour, s.CachedInfo().Config.MaxAge)
	require.NotEqual(t, "an older release's words", s.CachedInfo().Config.Description)
}

func TestTheBoundOfRelayedEventsDoesNotBoundTheIntake(t *testing.T) {
	t.Parallel()
	js := connect(t)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{EventsMaxBytes: 4096}))
	// Accepted messages stay in the stream, and must not make it refuse new ones.
	for range 5 {
		_, err := js.Publish(t.Context(), events.IntakePrefix+"x", make([]byte, 2048))
		require.NoError(t, err)
	}
}

func TestEnsureRefusesStreamsThatWouldLoseData(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, c := range map[string]struct {
		breakIt func(*jetstream.StreamConfig)
		field   string
	}{
		"work queue": {func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention"},
		"memory": {func(c *jetstream.StreamConfig) {
			c.Storage, c.PersistMode = jetstream.MemoryStorage, jetstream.DefaultPersistMode
		}, "storage"},
		"short age":     {func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Minute, time.Minute }, "maximum age"},
		"few messages":  {func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }, "maximum messages"},
		"small":         {func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "maximum message size"},
		"last only":     {func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "maximum messages per subject"},
		"more subjects": {func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "other.>") }, "subjects"},
		"discard new":   {func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }, "discard policy"},
	} {
		js := connect(t)
		cfg := stream.Configs(stream.Options{})[0]
		c.breakIt(&cfg)
		_, err := js.CreateStream(ctx, cfg)
		require.NoError(t, err, name)
		err = stream.Ensure(ctx, js, stream.Options{})
		var mismatch *stream.MismatchError
		require.ErrorAs(t, err, &mismatch, name)
		require.Equal(t, stream.Events, mismatch.Stream, name)
		require.Equal(t, c.field, mismatch.Field, name)
		remedy := "nats stream edit"
		if name == "work queue" { // the broker can't change it
			remedy = "nats stream rm"
		}
		require.Contains(t, err.Error(), remedy, name)
	}
}

func TestEnsureKeepsThePersistModeOfAnExistingStream(t *testing.T) {
	t.Parallel()
	js := connect(t)
	older := stream.Configs(stream.Options{Replicas: 3})[0]
	older.Replicas, older.Description = 1, "an older release's words"
	_, err := js.CreateStream(t.Context(), older)
	require.NoError(t, err)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	s, err := js.Stream(t.Context(), stream.Events)
	require.NoError(t, err)
	cfg := s.CachedInfo().Config
	require.Equal(t, jetstream.DefaultPersistMode, cfg.PersistMode)
	require.True(t, cfg.AllowAtomicPublish)
	require.NotEqual(t, older.Description, cfg.Description)
}

func TestReplicatingAStreamOfOneServerIsRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	js := connect(t)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	err := stream.Ensure(t.Context(), js, stream.Options{Replicas: 3})
	var mismatch *stream.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, "persist mode", mismatch.Field)
	require.Contains(t, err.Error(), "nats stream rm "+stream.Events)
	require.NotContains(t, err.Error(), "nats stream edit")
}
