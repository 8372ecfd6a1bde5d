//go:build site

package site_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	headline = regexp.MustCompile("(?m)^`([A-Z]+) (/\\S+)`$")
	fenced   = regexp.MustCompile("(?s)\n```sh\n(.*?)```")
	variable = regexp.MustCompile(`\\{\w+\\}`)
)

// TestTheCommandsOfTheAPIPagesSendWhatTheySay runs each curl of the pages of the HTTP API. What arrives must be the
// operation above it, with a value for each part of its path, the key, and a body of JSON.
func TestTheCommandsOfTheAPIPagesSendWhatTheySay(t *testing.T) {
	t.Parallel()
	type sent struct{ method, path, key, body string }
	var got []sent
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		got = append(got, sent{r.Method, r.URL.Path, r.Header.Get("Authorization"), string(body)}) // curl waits for the answer
	}))
	t.Cleanup(server.Close)
	files, err := filepath.Glob("../../docs/reference/api/*.md")
	require.NoError(t, err)
	commands := 0
	for _, file := range files {
		page, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, at := range headline.FindAllSubmatchIndex(page, -1) {
			method, template := string(page[at[2]:at[3]]), string(page[at[4]:at[5]])
			command := fenced.FindSubmatch(page[at[1]:])
			require.NotNil(t, command, "%s %s", method, template)
			run := exec.CommandContext(context.Background(), "sh", "-ec", string(command[1]))
			run.Env = append(os.Environ(), "FANMAIL_API="+server.URL, "FANMAIL_KEY=fm_key")
			got = nil
			out, err := run.CombinedOutput()
			require.NoError(t, err, "%s: %s", command[1], out)
			require.Len(t, got, 1, "%s", command[1])
			path := regexp.MustCompile("^" + variable.ReplaceAllString(regexp.QuoteMeta(template), "[^/{}]+") + "$")
			require.Equal(t, method, got[0].method)
			require.Regexp(t, path, got[0].path)
			require.NotContains(t, got[0].path, "undefined")
			require.Equal(t, "Bearer fm_key", got[0].key)
			require.True(t, got[0].body == "" || json.Valid([]byte(got[0].body)), "%s: %s", command[1], got[0].body)
			require.Equal(t, strings.Contains(string(command[1]), " -d "), got[0].body != "")
			commands++
		}
	}
	require.Greater(t, commands, 70)
}
