package app

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/s3test"
)

func TestABadURLOfABlobStoreIsRefused(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"", "s3://mails", "s3://a:b@mails/a/prefix/?region=eu-central-1", "s3://a:b%2F%40@mails?endpoint=http://127.0.0.1:9000&path_style=false", "file:///var/lib/fanmail",
	} {
		require.NoError(t, (&Blobs{URL: secret.Text(good)}).validate(), good)
	}
	for bad, why := range map[string]string{
		"gs://mails": "does not begin with s3:// or file://", "mails": "does not begin with", "s3:mails": "is not a URL", "s3://": "name of a bucket", "s3://UPPER": "name of a bucket", "s3://m": "name of a bucket",
		"s3://a@mails": "KEY:SECRET", "s3://a:b/c@mails": "is not a URL", "s3://mails?secret=x": "other than endpoint, region and path_style", "s3://mails?path_style=1": "neither true nor false",
		"s3://mails?endpoint=localhost:9000": "endpoint that is not a URL", "s3://mails?endpoint=http://a:9000/path": "endpoint that is not a URL", "s3://mails?region=a&region=b": "twice",
		"file://var/lib": "absolute path", "file:///a?x=y": "absolute path", "file://": "absolute path", "s3://mails?region=%zz": "percent-encoded",
	} {
		err := (&Blobs{URL: secret.Text(bad)}).validate()
		require.ErrorContains(t, err, why, bad)
		require.ErrorContains(t, err, "--blobs (FANMAIL_BLOBS)", bad)
	}
}

// serving starts an ingest with a blob store, and returns the base URL of its state.
func serving(t *testing.T, db Database, store string) string {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	done := make(chan error, 1)
	c := IngestConfig{
		Database: db, NATS: NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
		SMTP: SMTP{Addr: "127.0.0.1:0"}, Blobs: Blobs{URL: secret.Text(store)},
	}
	go func() { done <- RunIngest(t.Context(), c, zap.New(core)) }()
	t.Cleanup(func() {
		require.NoError(t, <-done)
		for _, e := range logs.All() {
			require.NotContains(t, fmt.Sprint(e.Message, e.ContextMap()), s3test.SecretKey)
		}
	})
	return statusURL(t, logs)
}

func diagnosed(t *testing.T, db Database, store string) Finding {
	t.Helper()
	for _, f := range Diagnose(t.Context(), DoctorConfig{Database: db, Blobs: Blobs{URL: secret.Text(store)}}) {
		if f.Check == "blob store" {
			require.NotContains(t, f.Detail+f.Fix, s3test.SecretKey)
			return f
		}
	}
	return Finding{}
}

func TestTheStateOfTheBlobStoreIsTold(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	db := Database{URL: secret.Text(pgtest.URL(t))}
	url := server.URL("fan")
	base := serving(t, db, url)
	well := func(s health.State) bool { return s.Status == health.OK && !s.LastSuccess.IsZero() }
	stands(t, base, 200, readyOK, blobsName, well)
	require.Equal(t, FindingOK, diagnosed(t, db, url).Status)
	require.Equal(t, Finding{}, diagnosed(t, db, ""))
	require.Equal(t, []string{"fan/" + blobs.OwnerKey}, server.Keys(), "trials are deleted")

	server.Kill()
	s := stands(t, base, 200, readyDegraded, blobsName, withCode(string(blobs.Unreachable)))
	require.NotEmpty(t, s.Remedy)
	require.NotContains(t, s.Error, s3test.SecretKey)
	found := diagnosed(t, db, url)
	require.Equal(t, FindingFail, found.Status)
	require.Contains(t, found.Fix, "FANMAIL_BLOBS")
	server.Again()
	stands(t, base, 200, readyDegraded, blobsName, func(s health.State) bool { return s.Status == health.Degraded }) // the error is still fresh
}

func TestTheBlobStoreOfAnotherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := Database{URL: secret.Text(pgtest.URL(t))}, Database{URL: secret.Text(pgtest.URL(t))}
	stands(t, serving(t, first, "file://"+dir), 200, readyOK, blobsName, func(s health.State) bool { return !s.LastSuccess.IsZero() })
	stands(t, serving(t, second, "file://"+dir), 200, readyDegraded, blobsName, withCode(string(blobs.Foreign)))
	found := diagnosed(t, second, "file://"+dir)
	require.Equal(t, FindingFail, found.Status)
	require.Contains(t, found.Fix, "owner")
	require.Equal(t, FindingOK, diagnosed(t, first, "file://"+dir).Status)

	owner, err := os.ReadFile(filepath.Join(dir, blobs.OwnerKey))
	require.NoError(t, err)
	require.Regexp(t, `^postgres \d+ \d+$`, string(owner))
}
