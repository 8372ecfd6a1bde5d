package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// releaseBefore is the commit of the previous release. There is no release yet, so the test replaces the processes of the
// last commit.
const releaseBefore = "HEAD"

// buildRelease builds programs as they were at a commit, from the history of this clone.
func buildRelease(ctx context.Context, commit, dir, bin string) error {
	out, err := exec.CommandContext(ctx, "sh", "-c", `mkdir -p "$2" && cd "$(git rev-parse --show-toplevel)" && git archive "$1" | tar -x -C "$2"`, "sh", commit, dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("read the previous release from the history (a shallow clone needs git fetch --unshallow): %w\n%s", err, out)
	}
	args := []string{"build", "-trimpath", "-o", bin + string(filepath.Separator)}
	for _, p := range programs() {
		args = append(args, "./"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the previous release: %w\n%s", err, out)
	}
	return nil
}

// TestARollingUpgradeLosesNothingAndKeepsTheCap replaces all processes of the previous release by this
// one's while mail comes in: the schema first, then one process at a time.
func TestARollingUpgradeLosesNothingAndKeepsTheCap(t *testing.T) {
	t.Parallel()
	source, before, next := t.TempDir(), t.TempDir(), built(t)
	require.NoError(t, buildRelease(t.Context(), releaseBefore, source, before))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("the upgrade test took too long"))
	t.Cleanup(cancel)
	r, s := newRigOf(ctx, t, before), sink.New(t)
	r.another(ctx, "dispatcher", "dispatcher-2", r.bin)
	// The command that creates a key needs this release's schema.
	const operator = "an operator's key of the upgrade test"
	_, err := r.pool.Exec(ctx, `INSERT INTO fanmail.api_keys (id, name, secret_hash) VALUES (gen_random_uuid(), 'operator', sha256($1))`, []byte(operator))
	require.NoError(t, err)
	key := settleAs(ctx, r, s, operator)
	for n := range webhooks {
		s.Script(webhookPath(n), sink.Always(sink.Answer{Delay: 5 * time.Millisecond}))
	}
	const limit = 2
	r.limit(ctx, key, s.URL(webhookPath(0)), limit)

	replace := func(name string) {
		old := r.running[name]
		require.NoError(t, old.Stop(ctx), "%s of the previous release stops in order", name)
		spec := old.Spec
		spec.Bin = filepath.Join(next, filepath.Base(spec.Bin))
		r.start(ctx, spec)
	}
	steps := map[int]func(){
		200:  func() { require.NoError(t, migrations.Up(ctx, r.pool)) },
		500:  func() { replace("publisher") },
		700:  func() { r.another(ctx, "dispatcher", "dispatcher-3", next) },
		800:  func() { require.NoError(t, r.running["dispatcher-2"].Stop(ctx)) },
		1000: func() { replace("dispatcher") },
		1200: func() { replace("ingest") },
		1400: func() { replace("api") },
	}
	senders := sendAll(ctx, r.smtp, 8)
	t.Cleanup(senders.done.Wait)
	t.Cleanup(cancel)
	finished := make(chan struct{})
	go func() {
		senders.done.Wait()
		close(finished)
	}()
	for n := 0; n < mails; {
		select {
		case <-senders.accepted:
			n++
			if step := steps[n]; step != nil {
				step()
				delete(steps, n)
			}
		case <-finished:
			if err := senders.failed.Load(); err != nil {
				require.NoError(t, *err)
			}
			finished = nil
		}
	}
	require.Empty(t, steps, "every step was taken while mail came in")

	arrived := arrivals{t: t, want: expected(), seen: map[delivery]sink.Post{}}
	err = s.Wait(ctx, func() bool { return arrived.all(s) })
	require.NoError(t, err, "%d of %d deliveries arrived", len(arrived.seen), len(arrived.want))
	require.Eventually(t, func() bool {
		return r.count(ctx, `SELECT count(*) FROM fanmail.outbox`) == 0 &&
			r.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status <> 'delivered'`) == 0
	}, 3*time.Minute, 100*time.Millisecond, "the last outcomes are written")
	require.Equal(t, mails, r.count(ctx, `SELECT count(*) FROM fanmail.events`))
	_, most := s.InFlight(webhookPath(0))
	require.LessOrEqual(t, most, limit, "the cap holds over the old and the new dispatchers")
	require.Positive(t, most)
	require.NoError(t, r.running["dispatcher-3"].Stop(ctx))
	r.stop(ctx)
	t.Logf("%d mails, %d SMTP retries, %d deliveries, %d POSTs beyond the first", mails, senders.retries.Load(), len(arrived.seen), arrived.twice)
}

// another starts a further replica of a command that runs.
func (r *rig) another(ctx context.Context, command, name, bin string) {
	r.t.Helper()
	spec := r.running[command].Spec
	health := freeAddr(r.t)
	spec.Name, spec.Bin, spec.Ready = name, filepath.Join(bin, command), "http://"+health+"/readyz"
	spec.Env = append(slices.Clone(spec.Env), "FANMAIL_HTTP_ADDR="+health)
	r.start(ctx, spec)
}

// limit sets max_in_flight of the webhook with that URL.
func (r *rig) limit(ctx context.Context, key, url string, n int) {
	r.t.Helper()
	var listed struct{ Data []struct{ ID, URL string } }
	r.call(ctx, key, http.MethodGet, "/v1/webhooks?limit=100", nil, &listed)
	for _, w := range listed.Data {
		if w.URL == url {
			r.call(ctx, key, http.MethodPatch, "/v1/webhooks/"+w.ID, map[string]any{"max_in_flight": n}, nil)
			return
		}
	}
	r.t.Fatalf("no webhook has the URL %s", url)
}
