package erasure_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// victimOf is where the process of a test finds what it works on.
type victimOf struct{ Database, Broker, Blobs string }

const victimEnv = "FANMAIL_TEST_ERASE"

// TestVictim is the process that is killed: it erases until then. Without the variable it has nothing to do.
func TestVictim(t *testing.T) {
	text := os.Getenv(victimEnv)
	if text == "" {
		return
	}
	go func() { // it ends with the test's process, however that ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	var of victimOf
	require.NoError(t, json.Unmarshal([]byte(text), &of))
	pool, err := pg.Open(context.Background(), of.Database, 4)
	require.NoError(t, err)
	nc, err := nats.Connect(of.Broker)
	require.NoError(t, err)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	w := erasure.New(pool, erasure.Options{Rows: true, Outside: true, JS: js, Blobs: blobs.NewFolder(of.Blobs), Tables: tables(), Settle: time.Nanosecond})
	for {
		_ = w.Round(context.Background())
	}
}

// TestAKilledErasureCountsExactly kills a process (SIGKILL) in each phase, before and after the phase has done something,
// with its work done and not committed. Others finish.
func TestAKilledErasureCountsExactly(t *testing.T) {
	t.Parallel()
	for kind, points := range map[erasure.Kind][]string{
		erasure.Address: {
			`NEW.phase = 'rows' AND NEW.removed <> '{}'`, `NEW.phase = 'late'`, `NEW.phase = 'mails'`, `OLD.phase = 'mails'`, `OLD.phase = 'hits'`,
			`NEW.phase = 'streams' AND NEW.removed ? 'stream_messages'`, `NEW.phase = 'streams' AND OLD.at_id IS NOT NULL AND NEW.at_id IS NULL`, `NEW.removed ? 'blobs'`, `NEW.phase = 'completed'`,
		},
		erasure.Tenant: {
			`NEW.phase = 'rows' AND NEW.removed <> '{}'`, `NEW.phase = 'late'`, `OLD.phase = 'late'`, `NEW.phase = 'streams' AND NEW.at_seq > 0`,
			`OLD.phase = 'streams' AND OLD.at_seq > 0 AND NEW.at_seq = 0`, `NEW.removed ? 'blobs'`, `NEW.phase = 'completed'`,
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			one, other := r.tenant(), r.tenant()
			r.webhook(one, "/one")
			r.engine()
			const n = 120 // more than a batch
			for i := range n {
				r.mail(letter{from: ann, to: "robot@agents.example", large: i%10 == 0}, one)
				r.mail(letter{from: carl, to: "robot@agents.example"}, other)
			}
			r.mail(letter{from: carl, to: "robot@agents.example", header: "Bcc: " + ann + "\r\n", lacks: []string{"headers"}}, one)
			r.delivered()
			stays := r.all(other)
			var e erasure.Erasure
			if kind == erasure.Address {
				e = r.ofAddress(one, ann)
			} else {
				var err error
				e, err = erasure.OfTenant(t.Context(), r.pool, one, 0, "key_operator")
				require.NoError(t, err)
			}
			r.exec(`CREATE FUNCTION fanmail.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$`)
			for _, point := range points {
				r.killAt(e, point)
			}
			done := r.end(e)
			want := map[string]int64{"events": n + 1, "messages": n + 1, "raw_mails": n + 1, "agent_deliveries": n + 1, "deliveries": n + 1, "stream_messages": n + 1, "blobs": n / 10}
			for what, n := range want {
				require.Equal(t, n, done.Removed[what], what)
			}
			require.Zero(t, done.NotSearched)
			require.Empty(t, r.messages(events.EventSubjects(one, nil)))
			require.Zero(t, r.count(`SELECT count(*) FROM fanmail.events WHERE tenant_id = $1`, one))
			require.Equal(t, stays, r.all(other))
		})
	}
}

// killAt starts a process, and kills it while it waits to save an erasure at a point.
func (r *rig) killAt(e erasure.Erasure, point string) {
	r.t.Helper()
	ctx := r.t.Context()
	held, err := r.pool.Acquire(ctx)
	require.NoError(r.t, err)
	defer held.Release()
	_, err = held.Exec(ctx, `SELECT pg_advisory_lock(4711)`)
	require.NoError(r.t, err)
	r.exec(`UPDATE fanmail.erasures SET due_at = now() WHERE id = $1`, e.ID) // a step that was killed has a lease
	r.exec(`CREATE TRIGGER hold BEFORE UPDATE ON fanmail.erasures FOR EACH ROW WHEN (` + point + `) EXECUTE FUNCTION fanmail.hold()`)
	text, err := json.Marshal(victimOf{r.pool.Config().ConnString(), r.nc.ConnectedUrl(), r.folder})
	require.NoError(r.t, err)
	victim := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	victim.Env = append(os.Environ(), victimEnv+"="+string(text))
	_, err = victim.StdinPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, victim.Start())
	r.t.Cleanup(func() { _ = victim.Process.Kill() }) // where the test fails
	waiting := func() int {
		return r.count(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted`)
	}
	require.Eventually(r.t, func() bool { return waiting() > 0 }, patience, 5*time.Millisecond, fmt.Sprint("it does not come to: ", point))
	require.NoError(r.t, victim.Process.Kill())
	_ = victim.Wait()
	// Its server process waits for the lock and does not notice.
	r.exec(`SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted`)
	r.exec(`DROP TRIGGER hold ON fanmail.erasures`)
	_, err = held.Exec(ctx, `SELECT pg_advisory_unlock(4711)`)
	require.NoError(r.t, err)
}
