package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// database is a vulnerability database, in the format of https://go.dev/doc/security/vuln/database, with one
// vulnerability of each module. fixed is the version without it; "" for none.
func database(t *testing.T, modules map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, format string, args ...any) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, format, args...), 0o600))
	}
	const at = "2026-01-01T00:00:00Z"
	var index []string
	for module, fixed := range modules {
		id := fmt.Sprintf("GO-2026-%04d", 9000+len(index))
		event := ""
		if fixed != "" {
			event = fmt.Sprintf(`,{"fixed":%q}`, fixed)
		}
		index = append(index, fmt.Sprintf(`{"path":%q,"vulns":[{"id":%q,"modified":%q,"fixed":%q}]}`, module, id, at, fixed))
		write("ID/"+id+".json", `{"schema_version":"1.3.1","id":%q,"modified":%q,"published":%q,"summary":"A hole in %s","affected":[{"package":{"name":%q,"ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}%s]}],"ecosystem_specific":{}}]}`,
			id, at, at, module, module, event)
	}
	write("index/modules.json", "[%s]", strings.Join(index, ","))
	write("index/db.json", `{"modified":%q}`, at)
	write("index/vulns.json", "[]")
	return dir
}

// served serves a database over HTTP, where each file is compressed.
func served(t *testing.T, dir string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(filepath.Join(dir, filepath.Clean("/"+strings.TrimSuffix(r.URL.Path, ".gz"))))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		z := gzip.NewWriter(w)
		_, _ = z.Write(text)
		_ = z.Close()
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestAKnownVulnerabilityFailsTheCheck(t *testing.T) {
	t.Chdir("../..")
	for name, c := range map[string]struct {
		modules map[string]string
		checked []string
		counted int
		says    []string
	}{
		"a module that is not in the graph": {map[string]string{"example.com/elsewhere": ""}, []string{".", "tools"}, 0, []string{".: 0 known", "tools: 0 known"}},
		"a version before ours":             {map[string]string{"github.com/jackc/pgx/v5": "5.0.0"}, []string{"."}, 0, []string{".: 0 known"}},
		"our version":                       {map[string]string{"github.com/jackc/pgx/v5": "5.999.0"}, []string{"."}, 1, []string{"GO-2026-9000", "github.com/jackc/pgx/v5 v5.", "A hole in", "fixed in v5.999.0"}},
		"the standard library":              {map[string]string{"stdlib": "1.999.0"}, []string{"."}, 1, []string{"stdlib"}},
		"no fix, in what ships":             {map[string]string{"github.com/jackc/pgx/v5": ""}, []string{"."}, 1, []string{"no version fixes it"}},
		"no fix, in a tool":                 {map[string]string{"github.com/golangci/golangci-lint/v2": ""}, []string{".", "tools"}, 0, []string{"tools: 1 known", "no version fixes it"}},
		"a fix, in a tool":                  {map[string]string{"github.com/golangci/golangci-lint/v2": "2.999.0"}, []string{".", "tools"}, 1, []string{"tools: 1 known"}},
	} {
		dir := database(t, c.modules)
		for _, db := range []string{"file://" + dir, served(t, dir)} {
			var out bytes.Buffer
			counted, err := check(t.Context(), db, c.checked, &out)
			require.NoError(t, err, name)
			require.Equal(t, c.counted, counted, "%s: %s", name, out.String())
			for _, words := range c.says {
				require.Contains(t, out.String(), words, name)
			}
			require.NotContains(t, out.String(), "NOT CHECKED", name)
		}
	}
}

func TestADatabaseOutOfReachIsSaidAndFailsNothing(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(refusing.Close)
	for _, db := range []string{nobody, refusing.URL, "file:///nowhere", "https://nobody.invalid"} {
		var out bytes.Buffer
		counted, err := check(t.Context(), db, []string{"."}, &out)
		require.NoError(t, err, db)
		require.Zero(t, counted, db)
		require.Contains(t, out.String(), "NOT CHECKED for known vulnerabilities: the database "+db+" cannot be reached: ", db)
	}
}

func TestWhatIsNoDatabaseFailsTheCheck(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	_, err := check(t.Context(), other.URL, []string{"."}, &bytes.Buffer{})
	require.ErrorContains(t, err, "is no vulnerability database: it answers 404")
}
