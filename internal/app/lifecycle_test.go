package app

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestOnlyReadinessDependsOnOthers stops the database under all four processes, and
// the broker too. Each lives on. Without the database none is ready. Without the broker
// the publisher is not, and the others work and say so.
func TestOnlyReadinessDependsOnOthers(t *testing.T) {
	t.Parallel()
	broker, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(broker.Stop)
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	database := newGate(t, u.Host)
	u.Host = database.addr
	db, nc, life := Database{URL: secret.Text(u.String())}, NATS{URL: secret.Text(broker.URL())}, Lifecycle{HTTPAddr: "127.0.0.1:0", Drain: time.Second}
	bases := map[string]string{}
	for name, run := range map[string]func(*zap.Logger) error{
		"publisher": func(l *zap.Logger) error {
			return RunPublisher(t.Context(), PublisherConfig{Database: db, NATS: nc, Lifecycle: life}, l)
		},
		"dispatcher": func(l *zap.Logger) error {
			return RunDispatcher(t.Context(), DispatcherConfig{Database: db, NATS: nc, Lifecycle: life}, l)
		},
		"ingest": func(l *zap.Logger) error {
			return RunIngest(t.Context(), IngestConfig{Database: db, NATS: nc, Lifecycle: life, SMTP: SMTP{Addr: "127.0.0.1:0"}}, l)
		},
		"api": func(l *zap.Logger) error {
			return RunAPI(t.Context(), APIConfig{Database: db, NATS: nc, Lifecycle: life, Addr: "127.0.0.1:0"}, l)
		},
	} {
		core, logs := observer.New(zap.InfoLevel)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = run(zap.New(core)) // without a database it may not drain in time, and says so
		}()
		t.Cleanup(func() { <-done })
		bases[name] = statusURL(t, logs)
	}
	for _, base := range bases {
		becomesReady(t, base)
	}
	says := func(why string, degraded ...string) {
		for name, base := range bases {
			want, word := http.StatusServiceUnavailable, `"status":"not ready"`
			if slices.Contains(degraded, name) {
				want, word = http.StatusOK, `"status":"degraded"`
			}
			require.Eventually(t, func() bool {
				status, body := get(t, base+"/readyz")
				return status == want && strings.Contains(body, why) && strings.Contains(body, word)
			}, patience, 20*time.Millisecond, "%s: %s", name, why)
			status, _ := get(t, base+"/healthz")
			require.Equal(t, http.StatusOK, status, "%s lives", name)
		}
	}
	database.shut()
	says("the database is away")
	database.open()
	for _, base := range bases {
		becomesReady(t, base)
	}
	broker.Stop()
	says("the broker is away", "dispatcher", "ingest", "api")
}

func TestTheLogLevelIsChangedWhileTheProcessRuns(t *testing.T) {
	t.Parallel()
	log, err := Logging{Level: "warn"}.Logger()
	require.NoError(t, err)
	part := log.Named("part").With(zap.String("k", "v"))
	ctx, stop := context.WithCancel(t.Context())
	l, err := listen(ctx, "127.0.0.1:0", "", "")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- serveHTTP(ctx, l, (&status{}).handler(nil, log, false), time.Second, zap.NewNop()) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	put := func(body string) (int, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+l.Addr().String()+"/loglevel", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	require.False(t, part.Core().Enabled(zap.DebugLevel))
	code, body := put("level=debug")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"level":"debug"}`, body)
	require.True(t, part.Core().Enabled(zap.DebugLevel), "what was derived before hears of it")
	code, _ = put("level=loud")
	require.Equal(t, http.StatusBadRequest, code)
	require.True(t, part.Core().Enabled(zap.DebugLevel))
}

// TestTheLogLevelFollowsItsFile replaces the file as Kubernetes does with that
// of a ConfigMap: by another target of a link above it.
func TestTheLogLevelFollowsItsFile(t *testing.T) {
	dir := t.TempDir()
	n := 0
	write := func(text string) {
		n++
		version := filepath.Join(dir, strconv.Itoa(n))
		require.NoError(t, os.Mkdir(version, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(version, "log-level"), []byte(text), 0o600))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "next")))
		require.NoError(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")))
	}
	c := Logging{Level: "error", LevelFile: filepath.Join(dir, "data", "log-level")}
	_, err := c.Logger()
	require.ErrorContains(t, err, "--log-level-file (FANMAIL_LOG_LEVEL_FILE) cannot be read")
	write("fatal")
	_, err = c.Logger()
	require.ErrorContains(t, err, `says "fatal"; it must be debug, info, warn or error`)
	write("warn\n")
	made, err := c.Logger()
	require.NoError(t, err)
	level := made.Core().(adjustable).level
	require.Equal(t, zap.WarnLevel, level.Level(), "the file takes precedence over the flag")

	core, logs := observer.New(level)
	log := zap.New(adjustable{core, level})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	follow := func(interval time.Duration) {
		go func() {
			c.follow(ctx, log, interval)
			done <- struct{}{}
		}()
	}
	follow(time.Millisecond)
	becomes := func(want zapcore.Level) {
		t.Helper()
		require.Eventually(t, func() bool { return level.Level() == want }, patience, time.Millisecond)
	}
	write("debug")
	becomes(zap.DebugLevel)
	write("loud")
	require.Eventually(t, func() bool { return logs.FilterMessageSnippet(`says "loud"`).Len() == 1 }, patience, time.Millisecond)
	require.Equal(t, zap.DebugLevel, level.Level())
	write("error")
	becomes(zap.ErrorLevel)
	stop()
	<-done

	// Now nothing but the signal makes it look.
	ctx, stop = context.WithCancel(t.Context())
	level.SetLevel(zap.DebugLevel) // as PUT /loglevel does
	follow(time.Hour)
	becomes(zap.ErrorLevel)
	level.SetLevel(zap.DebugLevel)
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(syscall.SIGHUP))
	becomes(zap.ErrorLevel)
	stop()
	<-done
	require.Equal(t, 1, logs.FilterMessageSnippet(`says "loud"`).Len(), "a fault is told once")
}

func TestADefaultDrainEndsBeforeKubernetesKills(t *testing.T) {
	t.Parallel()
	const grace, flush, traces, status = 30 * time.Second, time.Second, time.Second, time.Second / 2
	require.LessOrEqual(t, DefaultDrain+margin(DefaultDrain)+flush+traces+status, grace)
}
