package release_test

import (
	"os"
	"regexp"
	"strings"
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
		"../../receivers/typescript/README.md":         {`fanmail-dev-receiver-(.*)\.tgz`},
		"../../docs/how-to/install.md": {
			`(?m)^VERSION=(.*)$`, `(?m)^\| .fanmail_(.*?)_amd64\.deb`, `_amd64\.deb., .fanmail_(.*?)_arm64\.deb`, `fanmail-([\d.]*)-1\.x86_64`, `fanmail-([\d.]*)-1\.aarch64`,
			`fanmail_([\d.]*)_linux`, `publisher:([^` + "` ]*)", `apt install \./fanmail_(.*?)_amd64\.deb., or`,
		},
		// The notes of the release are its part of the changelog.
		"../../CHANGELOG.md": {`(?m)^## \[(\d.*)\] - \d{4}-\d\d-\d\d$`},
	} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, p := range patterns {
			found := regexp.MustCompile(p).FindAllSubmatch(b, -1)
			require.NotEmpty(t, found, "%s: %s", file, p)
			if strings.HasSuffix(file, "CHANGELOG.md") {
				found = found[:1] // the first number is the last release's
			}
			for _, f := range found {
				require.Equal(t, version, string(f[1]), "%s: %s", file, p)
			}
		}
	}
}
