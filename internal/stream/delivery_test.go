package stream_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

func sample() *stream.DeliveryMessage {
	ev := events.NewID()
	return &stream.DeliveryMessage{
		Lease: 1_790_000_000_000_000,
		Events: []stream.MessageEvent{
			{ID: ev, CreatedAt: time.UnixMicro(1_789_999_999_000_001), Envelope: []byte(`{"a":1}`)},
			{ID: events.NewID(), CreatedAt: time.UnixMicro(-1), Envelope: []byte{}},
		},
		Deliveries: []stream.MessageDelivery{
			{ID: events.NewRandom[events.DeliveryKind](), WebhookID: events.NewRandom[events.WebhookKind](), Event: 1},
			{ID: events.NewRandom[events.DeliveryKind](), WebhookID: events.NewRandom[events.WebhookKind]()},
		},
	}
}

func TestDeliveryMessagesSurviveEncodingAndDecoding(t *testing.T) {
	t.Parallel()
	m := sample()
	got, err := stream.DecodeDelivery(m.AppendTo(nil))
	require.NoError(t, err)
	require.Equal(t, m, got)
}

func TestTruncatedAndForeignDeliveryMessagesAreRefused(t *testing.T) {
	t.Parallel()
	b := sample().AppendTo(nil)
	for n := range b {
		_, err := stream.DecodeDelivery(b[:n])
		require.ErrorIs(t, err, stream.ErrDeliveryMessage, "cut at %d", n)
	}
	_, err := stream.DecodeDelivery(append(b, 0))
	require.ErrorIs(t, err, stream.ErrDeliveryMessage)
	b[0] = 99
	_, err = stream.DecodeDelivery(b)
	require.ErrorIs(t, err, stream.ErrDeliveryMessage)
}

func FuzzDecodeDelivery(f *testing.F) {
	f.Add(sample().AppendTo(nil))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := stream.DecodeDelivery(b)
		if err != nil {
			return
		}
		again, err := stream.DecodeDelivery(m.AppendTo(nil))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}
