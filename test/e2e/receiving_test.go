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

// TestTheReceiversOfTheDocsReceive runs each receiver in docs/how-to/receive-webhooks.md as it stands
// there: Go's always, the others' if their language is installed.
func TestTheReceiversOfTheDocsReceive(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/receive-webhooks.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```(go|js|python)\n(.*?)^```$").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 3)
	for _, b := range blocks {
		language, source := string(b[1]), b[2]
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
	src := filepath.Join(dir, "receiver")
	require.NoError(t, os.Mkdir(src, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(src, "main.go"), source, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(src, "go.sum"), sums, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(src, "go.mod"), []byte("module receiver\n\ngo 1.26\n\nrequire github.com/fanmail-dev/fanmail v0.0.0\n\nreplace github.com/fanmail-dev/fanmail => "+root+"\n"), 0o600))
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

	body := []byte(`{"data":{"subject":"Grüße ✉"}}`)
	post := func(change func(http.Header) []byte, at time.Time, secrets ...string) int {
		t.Helper()
		s, err := signature.NewSigner(secrets...)
		require.NoError(t, err)
		h := http.Header{}
		s.Sign(h, "evt_00000000000000000000000000000001", at, body)
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
