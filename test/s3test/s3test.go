// Package s3test gives each test an S3 server of its own: versitygw, which keeps buckets in a folder, as a process.
package s3test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/blobs/s3"
	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/test/process"
)

// The server's account. The secret has characters that a URL must escape.
const (
	AccessKey = "fanmail"
	SecretKey = "se/cr+et @ke:y" //nolint:gosec // of a server that lives as long as a test
	Bucket    = "mails"
	Region    = "us-east-1"
)

// program builds the server once for all tests of a package. Go's build cache keeps it.
var program = sync.OnceValues(func() (string, error) {
	return process.Tool(context.Background(), ".", "-modfile=tools/s3.mod", "versitygw")
})

// Server is a running S3 server with an empty bucket.
type Server struct {
	t        testing.TB
	endpoint string
	process  *process.Process
}

// Start starts a server, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := program()
	require.NoError(t, err)
	port, err := freeport.Find()
	require.NoError(t, err)
	dir, meta, addr := t.TempDir(), t.TempDir(), fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, process.Spec{
		Name: "versitygw", Bin: bin, Logs: t.TempDir(), Ready: "http://" + addr + "/health",
		Args: []string{"--port", addr, "--access", AccessKey, "--secret", SecretKey, "--region", Region, "--quiet", "--health", "/health", "posix", "--sidecar", meta, dir},
	})
	require.NoError(t, err)
	s := &Server{t: t, endpoint: "http://" + addr, process: p}
	t.Cleanup(func() { s.process.Kill() })
	require.NoError(t, s.client().MakeBucket(ctx, Bucket, minio.MakeBucketOptions{Region: Region}))
	return s
}

// URL is the value of --blobs for the bucket, with a prefix in it.
func (s *Server) URL(prefix string) string {
	u := url.URL{Scheme: "s3", User: url.UserPassword(AccessKey, SecretKey), Host: Bucket, Path: "/" + prefix}
	u.RawQuery = url.Values{"endpoint": {s.endpoint}, "region": {Region}}.Encode()
	return u.String()
}

// Kill ends the server. Its bucket stays.
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

func (s *Server) client() *minio.Client {
	s.t.Helper()
	c, err := minio.New(strings.TrimPrefix(s.endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: Region})
	require.NoError(s.t, err)
	return c
}

// Keys returns the keys of all objects in the bucket.
func (s *Server) Keys() (keys []string) {
	s.t.Helper()
	for o := range s.client().ListObjectsIter(context.Background(), Bucket, minio.ListObjectsOptions{Recursive: true}) {
		require.NoError(s.t, o.Err)
		keys = append(keys, o.Key)
	}
	return keys
}

// Config is the bucket, with a prefix that is "" or ends in a slash.
func (s *Server) Config(prefix string) s3.Config {
	s.t.Helper()
	endpoint, err := url.Parse(s.endpoint)
	require.NoError(s.t, err)
	return s3.Config{Bucket: Bucket, Prefix: prefix, Endpoint: endpoint, Region: Region, PathStyle: true, AccessKey: AccessKey, SecretKey: SecretKey}
}
