package stream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// configured connects to a new server with the configuration.
func configured(t *testing.T, config string) jetstream.JetStream {
	t.Helper()
	url, _ := natstest.Configured(t, config)
	nc, err := nats.Connect(url)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := stream.Open(nc, "")
	require.NoError(t, err)
	return js
}

// configOf returns a stream's configuration on the server.
func configOf(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	require.NoError(t, err)
	return s.CachedInfo().Config
}

const mib = 1 << 20

func TestStreamsAreBoundedByAShareOfTheAccount(t *testing.T) {
	t.Parallel()
	js := configured(t, `
		jetstream {}
		accounts { FANMAIL { jetstream { max_mem: 16MiB, max_file: 64MiB }, users: [ {user: fanmail, password: fanmail} ] } }
		no_auth_user: fanmail`)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	require.EqualValues(t, 32*mib, configOf(t, js, stream.Events).MaxBytes)
	require.EqualValues(t, 8*mib, configOf(t, js, stream.Deliveries).MaxBytes)
	require.EqualValues(t, 8*mib, configOf(t, js, stream.Intake).MaxBytes)
	require.EqualValues(t, 4*mib, configOf(t, js, stream.Dead).MaxBytes)
}

// TestAFullIntakeRefusesAndLosesNothing fills the intake while nobody takes messages in.
func TestAFullIntakeRefusesAndLosesNothing(t *testing.T) {
	t.Parallel()
	js := configured(t, `jetstream { max_file: 64MiB }`)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{Role: stream.Ingest}))
	taken := uint64(0)
	body := make([]byte, 512<<10)
	publish := func() error {
		_, err := js.Publish(t.Context(), "mail.intake.a", body)
		return err
	}
	for ; publish() == nil; taken++ {
		require.Less(t, taken, uint64(1000), "the stream has no bound")
	}
	var refused *jetstream.APIError
	require.ErrorAs(t, publish(), &refused)
	require.EqualValues(t, 10077, refused.ErrorCode, "maximum bytes exceeded")
	s, err := js.Stream(t.Context(), stream.Intake)
	require.NoError(t, err)
	require.Equal(t, taken, s.CachedInfo().State.Msgs, "all that were accepted are there")
	c, err := js.Consumer(t.Context(), stream.Intake, stream.IntakeConsumer)
	require.NoError(t, err)
	m, err := c.Next()
	require.NoError(t, err)
	require.NoError(t, m.DoubleAck(t.Context()))
	require.NoError(t, publish(), "what is taken in makes room")
}

// TestBoundsFitTheServersOwnLimits has a server with limits that the account does not show.
func TestBoundsFitTheServersOwnLimits(t *testing.T) {
	t.Parallel()
	js := configured(t, `jetstream { max_mem: 256M, max_file: 12582912 }`)
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	require.EqualValues(t, 4*mib, configOf(t, js, stream.Events).MaxBytes)
	deliveries := configOf(t, js, stream.Deliveries)
	require.Equal(t, jetstream.MemoryStorage, deliveries.Storage)
	require.EqualValues(t, 64*mib, deliveries.MaxBytes)
}

func TestABoundFromTheSettingsIsAppliedToTheStream(t *testing.T) {
	t.Parallel()
	js := connect(t)
	for _, o := range []stream.Options{
		{EventsMaxBytes: 64 * mib, EventsMaxAge: 48 * time.Hour},
		{EventsMaxBytes: 8 * mib, EventsMaxAge: 24 * time.Hour},
		{EventsMaxBytes: 128 * mib, EventsMaxAge: 96 * time.Hour},
	} {
		require.NoError(t, stream.Ensure(t.Context(), js, o))
		c := configOf(t, js, stream.Events)
		require.Equal(t, o.EventsMaxBytes, c.MaxBytes)
		require.Equal(t, o.EventsMaxAge, c.MaxAge)
		verified, err := stream.Verify(t.Context(), js, stream.Options{EventsMaxBytes: o.EventsMaxBytes + 1})
		require.NoError(t, err)
		require.ErrorIs(t, verified[0].Err, stream.ErrOutdated)
	}
	// A process without the settings changes nothing.
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	c := configOf(t, js, stream.Events)
	require.EqualValues(t, 128*mib, c.MaxBytes)
	require.Equal(t, 96*time.Hour, c.MaxAge)
}

func TestAnUnboundedStreamGetsABound(t *testing.T) {
	t.Parallel()
	js := connect(t)
	for _, c := range stream.Configs(stream.Options{}) {
		c.MaxBytes = -1
		_, err := js.CreateStream(t.Context(), c)
		require.NoError(t, err)
	}
	require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
	for _, name := range []string{stream.Events, stream.Deliveries, stream.Intake, stream.Dead} {
		require.Positive(t, configOf(t, js, name).MaxBytes, name)
	}
}

func TestABoundOverTheLimitIsRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	js := configured(t, `jetstream { max_file: 12582912 }`)
	for _, existing := range []bool{false, true} {
		if existing {
			require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{}))
		}
		err := stream.Ensure(t.Context(), js, stream.Options{EventsMaxBytes: 1 << 30})
		require.ErrorContains(t, err, "stream MAIL_EVENTS with at most 1073741824 bytes")
		require.ErrorContains(t, err, "max_file")
		require.ErrorContains(t, err, "raise them (max_file, max_mem)")
		require.True(t, stream.NeedsOperator(err))
	}
}

func TestAnOverlappingForeignStreamIsNamedAndTheOthersAreCreated(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"mail.events.>", "audit"}})
	require.NoError(t, err)
	err = stream.Ensure(t.Context(), js, stream.Options{})
	var overlap *stream.OverlapError
	require.ErrorAs(t, err, &overlap)
	require.Equal(t, []string{"AUDIT"}, overlap.Foreign)
	require.ErrorContains(t, err, "nats stream edit AUDIT")
	for _, name := range []string{stream.Deliveries, stream.Intake, stream.Dead} {
		configOf(t, js, name)
	}
	_, err = js.Consumer(t.Context(), stream.Intake, stream.IntakeConsumer)
	require.NoError(t, err)
}

// TestASmallBrokerHasRoomForAllStreamsAndBuckets has a limit that the account does not show, and processes that start in any
// order.
func TestASmallBrokerHasRoomForAllStreamsAndBuckets(t *testing.T) {
	t.Parallel()
	for _, first := range []stream.Role{stream.Publisher, stream.Dispatcher, stream.Ingest} {
		js := configured(t, `jetstream { max_file: 12582912, max_mem: 1MiB }`)
		require.NoError(t, stream.Ensure(t.Context(), js, stream.Options{Role: first}))
		require.NoError(t, stream.EnsureAll(t.Context(), js, stream.Options{}), "%v first", first)
		_, err := js.Publish(t.Context(), "mail.intake.a", make([]byte, 200<<10))
		require.NoError(t, err)
		kv, err := js.KeyValue(t.Context(), stream.Recipients)
		require.NoError(t, err)
		_, err = kv.Put(t.Context(), "x", nil)
		require.NoError(t, err)
	}
}
