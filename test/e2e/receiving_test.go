package e2e_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/process"
)

// interpreters may be missing on a machine.
var interpreters = map[string]string{"js": "node", "python": "python3"}

// program is a program on a page.
type program struct {
	language string
	source   []byte
}

// receivingPrograms are the receivers in docs/how-to/receive-webhooks.md: those that use a package of ours, and those
// without.
func receivingPrograms(t *testing.T) (packaged, bare []program) {
	t.Helper()
	page, err := os.ReadFile("../../docs/how-to/receive-webhooks.md")
	require.NoError(t, err)
	before, after, found := bytes.Cut(page, []byte("\n## Without a package\n"))
	require.True(t, found)
	return programsIn(before), programsIn(after)
}

// programsIn are the programs in the text of a page.
func programsIn(text []byte) (all []program) {
	for _, b := range regexp.MustCompile("(?ms)^```(go|js|python)\n(.*?)^```$").FindAllSubmatch(text, -1) {
		all = append(all, program{string(b[1]), b[2]})
	}
	return all
}

// TestTheReceiversOfTheDocsReceive runs each receiver without a package as it stands in the page: Go's always, the
// others' if their language is installed. `make receivers-check` runs those with a package.
func TestTheReceiversOfTheDocsReceive(t *testing.T) {
	t.Parallel()
	_, bare := receivingPrograms(t)
	require.Len(t, bare, 3)
	var err error
	for _, b := range bare {
		language, source := b.language, b.source
		dir := t.TempDir()
		var bin string
		var args []string
		if language == "go" {
			bin = buildReceiver(t, dir, source)
		} else if bin, err = exec.LookPath(interpreters[language]); err != nil {
			t.Logf("%s is not installed: its receiver is not run", interpreters[language])
			continue
		} else {
			file := filepath.Join(dir, "receiver."+language)
			require.NoError(t, os.WriteFile(file, source, 0o600))
			args = []string{file}
		}
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			receives(t, dir, bin, args)
		})
	}
}

// buildReceiver compiles a program against this tree.
func buildReceiver(t *testing.T, dir string, source []byte) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	return buildProgram(t, dir, source, sums, "go 1.26\n\nrequire github.com/fanmail-dev/fanmail v0.0.0\n\nreplace github.com/fanmail-dev/fanmail => "+root+"\n")
}

// buildProgram compiles a program in a module of its own. requires ends its go.mod.
func buildProgram(t *testing.T, dir string, source, sums []byte, requires string) string {
	t.Helper()
	src := filepath.Join(dir, "receiver")
	require.NoError(t, os.Mkdir(src, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(src, "main.go"), source, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(src, "go.sum"), sums, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(src, "go.mod"), []byte("module receiver\n\n"+requires), 0o600))
	bin := filepath.Join(dir, "receive")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-mod=mod", "-o", bin, ".")
	build.Dir, build.Env = src, append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

func receives(t *testing.T, dir, bin string, args []string) {
	t.Helper()
	addr, err := process.FreeAddr()
	require.NoError(t, err)
	secret, old := signature.NewSecret(), signature.NewSecret()
	p, err := process.Start(t.Context(), process.Spec{
		Name: "receiver", Bin: bin, Args: args, Logs: dir, Ready: addr, Env: []string{"WEBHOOK_SECRET=" + secret, "LISTEN=" + addr},
	})
	require.NoError(t, err)
	t.Cleanup(p.Kill)

	const id = "evt_00000000000000000000000000000001"
	body := []byte(`{"type":"email.received","id":"` + id + `","created_at":"2027-01-15T08:00:00Z","schema_version":"1","data":{"subject":"Grüße ✉"}}`)
	post := func(change func(http.Header) []byte, at time.Time, secrets ...string) int {
		t.Helper()
		s, err := signature.NewSigner(secrets...)
		require.NoError(t, err)
		h := http.Header{}
		s.Sign(h, id, at, body)
		sent := body
		if change != nil {
			if altered := change(h); altered != nil {
				sent = altered
			}
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/", bytes.NewReader(sent))
		require.NoError(t, err)
		req.Header = h
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	now := time.Now()
	require.Equal(t, 204, post(nil, now, secret))
	require.Equal(t, 204, post(nil, now, old, secret), "while the secret is rotated")
	require.Equal(t, 401, post(nil, now, old), "another secret")
	require.Equal(t, 401, post(nil, now.Add(-time.Hour), secret), "late")
	require.Equal(t, 401, post(func(http.Header) []byte { return append([]byte(" "), body...) }, now, secret), "altered")
	require.Equal(t, 401, post(func(h http.Header) []byte { h.Set(signature.HeaderID, "evt_2"); return nil }, now, secret), "another id")
	require.Equal(t, 401, post(func(h http.Header) []byte {
		h.Del(signature.HeaderSignature)
		h.Del(signature.HeaderE2A)
		return nil
	}, now, secret), "unsigned")
	require.Equal(t, 401, post(func(h http.Header) []byte { h.Set(signature.HeaderTimestamp, "soon"); return nil }, now, secret), "no time")
}
