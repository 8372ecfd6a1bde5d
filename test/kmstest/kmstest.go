// Package kmstest gives a test a server of AWS KMS of its own: local-kms, as a process on the loopback interface.
package kmstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/test/process"
)

// SecretKey is the marker in the credentials of [Server.Use].
const SecretKey = "s3cretmark3r"

// program builds the server once for all tests of a package. Go's build cache keeps it. Its module is its own, because
// it brings the first AWS SDK.
var program = sync.OnceValues(func() (string, error) {
	return process.Tool(context.Background(), "tools/_kms", "kms")
})

// Server is a running KMS.
type Server struct {
	t       testing.TB
	addr    string
	process *process.Process
}

// Start starts a KMS without keys, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := program()
	require.NoError(t, err)
	port, err := freeport.Find()
	require.NoError(t, err)
	s := &Server{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.process, err = process.Start(ctx, process.Spec{Name: "kms", Bin: bin, Logs: t.TempDir(), Ready: "http://" + s.addr + "/", Args: []string{s.addr, t.TempDir()}})
	require.NoError(t, err)
	t.Cleanup(func() { s.process.Kill() })
	return s
}

// Use points this process at the server, with credentials. Such a test can't be parallel.
func (s *Server) Use(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{ //nolint:gosec // the test server checks no credentials
		"AWS_ENDPOINT_URL_KMS": "http://" + s.addr, "AWS_ACCESS_KEY_ID": "fanmail", "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
}

// Kill ends the server. Its keys stay.
func (s *Server) Kill() { s.process.Kill() }

// Again starts the server after [Server.Kill].
func (s *Server) Again() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := s.process.Again(ctx)
	require.NoError(s.t, err)
	s.process = p
}

// NewKey makes a key and gives its URL, as --secrets-kms takes it.
func (s *Server) NewKey() string {
	s.t.Helper()
	return "aws-kms://" + s.call("CreateKey", map[string]string{}).KeyMetadata.Arn
}

// Disable disables a key.
func (s *Server) Disable(key string) {
	s.t.Helper()
	s.call("DisableKey", map[string]string{"KeyId": strings.TrimPrefix(key, "aws-kms://")})
}

type answer struct {
	KeyMetadata struct{ Arn string }
}

func (s *Server) call(method string, body any) (a answer) {
	s.t.Helper()
	sent, err := json.Marshal(body)
	require.NoError(s.t, err)
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.addr+"/", bytes.NewReader(sent))
	require.NoError(s.t, err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "TrentService."+method)
	got, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer got.Body.Close() //nolint:errcheck // it was read
	read, err := io.ReadAll(got.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, got.StatusCode, string(read))
	if len(read) > 0 {
		require.NoError(s.t, json.Unmarshal(read, &a))
	}
	return a
}
