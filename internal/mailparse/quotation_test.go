package mailparse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The corpus: a body, and beside it the reply in it. Without a reply beside it
// nothing must be taken off.
func TestRepliesAreToldFromWhatTheyQuote(t *testing.T) {
	t.Parallel()
	bodies, err := filepath.Glob("testdata/replies/*.txt")
	require.NoError(t, err)
	require.Greater(t, len(bodies), 30)
	for _, f := range bodies {
		body, err := os.ReadFile(f)
		require.NoError(t, err)
		want, err := os.ReadFile(strings.TrimSuffix(f, ".txt") + ".reply")
		reply, ok := StripQuotation(string(body))
		if os.IsNotExist(err) {
			require.False(t, ok, "%s: %q", f, reply)
			continue
		}
		require.NoError(t, err)
		require.True(t, ok, f)
		require.Equal(t, strings.TrimSuffix(string(want), "\n"), reply, f)
	}
}

// The search ends soon, whatever the text.
func TestTheSearchForAQuotationIsBounded(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		strings.Repeat("On\n", 1<<18), strings.Repeat("From: a\n", 4000), strings.Repeat("> \nx\n", 2000),
		"On " + strings.Repeat("wrote: ", 1<<18), strings.Repeat("On a b c d wrote:\n> x\ny\n", 1500),
	} {
		_, _ = StripQuotation(body)
	}
	_, ok := StripQuotation(strings.Repeat("x\n", maxReplyLines) + "> quoted")
	require.False(t, ok)
}
