package events_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestAnIDIsAUUIDInSQLAndTheZeroIDIsNull(t *testing.T) {
	t.Parallel()
	id := events.NewRandom[events.TenantKind]()
	v, err := id.Value()
	require.NoError(t, err)
	text := id.String()[len("ten_"):]
	require.Equal(t, text[:8]+"-"+text[8:12]+"-"+text[12:16]+"-"+text[16:20]+"-"+text[20:], v)
	for name, src := range map[string]any{"bytes": id[:], "text": v, "text as bytes": []byte(text)} {
		var got events.TenantID
		require.NoError(t, got.Scan(src), name)
		require.Equal(t, id, got, name)
	}

	v, err = events.TenantID{}.Value()
	require.NoError(t, err)
	require.Nil(t, v)
	got := id
	require.NoError(t, got.Scan(nil))
	require.True(t, got.IsZero())
	got.SetUUID(id.UUID())
	require.Equal(t, id, got)

	for _, bad := range []any{"", "no uuid", text + "00", text[1:], 5, []byte{1}} {
		require.Error(t, got.Scan(bad), "%v", bad)
	}
}
