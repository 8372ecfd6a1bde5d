package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPagesCallTheBenchWithWhatItTakes reads each call of the bench on the pages with the bench's own parser. A call
// without "go run . " is not found.
func TestPagesCallTheBenchWithWhatItTakes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*/*.md")
	require.NoError(t, err)
	calls := 0
	for _, file := range files {
		page, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`go run \. ([^`+"`"+`]+)`).FindAllStringSubmatch(string(page), -1) {
			calls++
			args := strings.Fields(m[1])
			if args[0] == smtpCommand {
				_, _, err = parseSMTP(args[1:])
			} else {
				_, err = parse(args)
			}
			if m[1] == "--help" {
				require.ErrorIs(t, err, flag.ErrHelp)
				continue
			}
			require.NoError(t, err, "%s: go run . %s", file, m[1])
		}
	}
	require.Greater(t, calls, 8)
	for _, bad := range [][]string{{"--workloads", "W99"}, {"--systems", "rabbit"}, {"--fast"}} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}
