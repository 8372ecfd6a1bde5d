package input_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestTimesHaveARange(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1970-01-01T00:00:00Z", "2026-02-03T04:05:06.789+14:00", "9999-12-31T23:59:59.999999Z"} {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		require.Empty(t, input.Time(at), text)
	}
	for _, text := range []string{
		"0000-01-01T00:00:00+10:00", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01",
		"9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59.9999999Z",
	} {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		require.NotEmpty(t, input.Time(at), text)
	}
}

// Whatever is accepted can be stored, read and written.
func TestWhatIsAcceptedIsStored(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	rapid.Check(t, func(r *rapid.T) {
		at := time.UnixMicro(rapid.Int64Range(-1<<60, 1<<60).Draw(r, "µs"))
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune{0, 'a', 0xfffd, 0x10ffff})),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(r, "text")
		if input.Time(at) != "" || input.Text(text) != "" {
			return
		}
		var backAt time.Time
		var backText string
		require.NoError(r, pool.QueryRow(t.Context(), `SELECT $1::timestamptz, $2::text`, at, text).Scan(&backAt, &backText))
		require.True(r, at.Equal(backAt))
		require.Equal(r, text, backText)
		_, err := json.Marshal(backAt.UTC())
		require.NoError(r, err)
	})
	require.Equal(t, "\u00e9", input.Shown("e\u0301"))
}
