package attempt

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestRetryAfterIsReadAsSecondsOrDate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, 90*time.Second, parseRetryAfter("90", now))
	require.Equal(t, time.Hour, parseRetryAfter(now.Add(time.Hour).Format(http.TimeFormat), now))
	require.Equal(t, 24*time.Hour, parseRetryAfter("99999999999", now), "up to a day")
	require.Equal(t, 24*time.Hour, parseRetryAfter(now.AddDate(0, 1, 0).Format(http.TimeFormat), now))
	for _, much := range []string{
		"99999999999999999999999999", "1e400", "86400.5", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 99999 23:59:59 GMT", " 18446744073709551617 ",
	} {
		require.Equal(t, 24*time.Hour, parseRetryAfter(much, now), much)
	}
	require.Equal(t, 1500*time.Millisecond, parseRetryAfter("1.5", now))
	for _, none := range []string{"", "soon", "-5", "-99999999999999999999999", "NaN", "Fri, 31 Dec 1999 23:59:59 GMT", now.Add(-time.Hour).Format(http.TimeFormat)} {
		require.Zero(t, parseRetryAfter(none, now), none)
	}
}

// answer is an answer with this body and no headers.
func answer(body io.Reader) *http.Response { return &http.Response{Body: io.NopCloser(body)} }

// endless is an answer that never ends, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "\xff\x00a"[(e.read+i)%3]
	}
	e.read += len(p)
	return len(p), nil
}

func TestOfAnAnswerASmallPieceIsReadAndKeptAsText(t *testing.T) {
	t.Parallel()
	e := &endless{}
	head, err := readHead(answer(e))
	require.NoError(t, err)
	require.True(t, utf8.ValidString(head))
	require.NotContains(t, head, "\x00")
	// Of each three bytes the first is no UTF-8 and becomes three, and the NUL goes.
	require.Len(t, head, 1024/3*4+3, "1 KiB of it is kept")
	require.LessOrEqual(t, e.read, responseBytes+2*drainBytes)

	head, err = readHead(answer(strings.NewReader(strings.Repeat("x", 4096))))
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", 1024), head)

	head, err = readHead(answer(strings.NewReader("short")))
	require.NoError(t, err)
	require.Equal(t, "short", head)
	_, err = readHead(answer(io.MultiReader(strings.NewReader("broken"), brokenReader{})))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
