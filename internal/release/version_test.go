package release_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/release"
)

// What can't read the file VERSION says the same number.
func TestAllSayTheSameVersion(t *testing.T) {
	t.Parallel()
	version := release.Version()
	const npm = `(?m)^  "version": "(.*)",$`
	require.Regexp(t, `^\d+\.\d+\.\d+$`, version)
	for file, patterns := range map[string][]string{
		"../../deploy/chart/Chart.yaml":                {`(?m)^version: (.*)$`, `(?m)^appVersion: "(.*)"$`},
		"../api/openapi.json":                          {`(?m)^  "info": \{[^}]*"version": "(.*)"`},
		"../../receivers/python/pyproject.toml":        {`(?m)^version = "(.*)"$`},
		"../../receivers/typescript/package.json":      {npm},
		"../../receivers/typescript/package-lock.json": {npm},
		"../../clients/typescript/package.json":        {npm},
		"../../clients/typescript/package-lock.json":   {npm},
		// The notes of the release are its part of the changelog. The first number is the last release's.
		"../../CHANGELOG.md": {`(?m)^## \[(\d.*)\] - \d{4}-\d\d-\d\d$`},
	} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, p := range patterns {
			found := regexp.MustCompile(p).FindSubmatch(b)
			require.NotNil(t, found, "%s: %s", file, p)
			require.Equal(t, version, string(found[1]), "%s: %s", file, p)
		}
	}
}
