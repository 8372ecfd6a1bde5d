package datafilter_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheExamplesOfThePagesAreTrue reads the samples and tables of docs/reference/filters.md and docs/how-to/filter-events.md.
func TestTheExamplesOfThePagesAreTrue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reference/filters.md")
	require.NoError(t, err)
	_, examples, ok := strings.Cut(string(page), "### Examples")
	require.True(t, ok)
	data := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(examples)[1]
	rows := regexp.MustCompile("(?m)^\\| `(.*)` \\| (yes|no)\\b").FindAllStringSubmatch(examples, -1)
	require.Len(t, rows, 14)
	for _, row := range rows {
		require.Equal(t, row[2] == "yes", match(parse(t, row[1]), envelope(data)), row[1])
	}
	page, err = os.ReadFile("../../docs/how-to/filter-events.md")
	require.NoError(t, err)
	rows = regexp.MustCompile("(?m)^\\| .* \\| `(\\{.*\\})` \\|$").FindAllStringSubmatch(string(page), -1)
	require.Len(t, rows, 6)
	for _, row := range rows {
		require.NotNil(t, parse(t, row[1]), row[1])
	}
}
