package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// held runs a statement in a transaction that stays open until the end of the test, or until release is called.
func held(t *testing.T, pool *pgxpool.Pool, statement string, args ...any) (release func()) {
	t.Helper()
	ctx := context.Background()
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	release = sync.OnceFunc(func() { _ = tx.Rollback(ctx) })
	t.Cleanup(release)
	_, err = tx.Exec(ctx, statement, args...)
	require.NoError(t, err)
	return release
}

// TestAMailThatTheDatabaseRefusesSpoilsNoOther sends mails of many sessions at once, of which the database refuses one.
func TestAMailThatTheDatabaseRefusesSpoilsNoOther(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	tenant(t, pool, "bad@example.net")
	_, err := pool.Exec(t.Context(), `ALTER TABLE fanmail.messages ADD CHECK (agent_id <> 'bad@example.net')`)
	require.NoError(t, err)
	release := held(t, pool, `LOCK TABLE fanmail.messages IN SHARE MODE`)
	const n = 30
	var wg sync.WaitGroup
	for i := range n {
		w := hello(t, s)
		agent, code := "a@example.com", 250
		if i%10 == 5 {
			agent, code = "bad@example.net", 451
		}
		w.begin(agent)
		w.say(354, "DATA")
		w.send(mailOf(fmt.Sprintf("%d@x", i/2)) + ".\r\n") // each twice
		wg.Go(func() { w.expect(code) })
	}
	release()
	wg.Wait()
	require.Len(t, mails(t, pool), n/2)
}

// TestATenantWhoseOrderIsHeldUpDelaysNoOther holds the lock of a strict tenant.
func TestATenantWhoseOrderIsHeldUpDelaysNoOther(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	strict := tenant(t, pool, "strict@example.net")
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.strict_tenants (tenant_id) VALUES ($1)`, strict)
	require.NoError(t, err)
	release := held(t, pool, `SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM fanmail.tenants WHERE id = $1`, strict)
	var wg sync.WaitGroup
	for i := range 3 {
		w := hello(t, s)
		w.begin("strict@example.net")
		w.say(354, "DATA")
		w.send(mailOf(fmt.Sprintf("strict%d@x", i)) + ".\r\n")
		wg.Go(func() { w.expect(250) })
	}
	for i := range 20 {
		deliverTo(t, s, "a@example.com", mailOf(fmt.Sprintf("%d@x", i)))
	}
	require.Len(t, mails(t, pool), 20)
	release()
	wg.Wait()
	require.Len(t, mails(t, pool), 23)
}

// TestADeletedAgentGetsNoMailThatItsAddressWasLookedUpFor deletes agents after RCPT, and creates some.
func TestADeletedAgentGetsNoMailThatItsAddressWasLookedUpFor(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{Tarpit: time.Millisecond})
	tenant(t, pool, "b@example.net")
	remove := func(agent string) {
		_, err := pool.Exec(t.Context(), `DELETE FROM fanmail.agents WHERE address = $1`, agent)
		require.NoError(t, err)
	}
	w := hello(t, s)
	w.begin("a@example.com", "b@example.net")
	remove("b@example.net")
	require.Contains(t, w.data(451, mailOf("1@x")), "4.1.1")
	w.say(250, "MAIL FROM:<sender@example.org>")
	w.say(250, "RCPT TO:<a@example.com>")
	w.say(550, "RCPT TO:<b@example.net>")
	w.data(250, mailOf("1@x"))
	w.begin("a@example.com")
	remove("a@example.com")
	require.Contains(t, w.data(550, mailOf("2@x")), "5.1.1")
	w.say(250, "MAIL FROM:<sender@example.org>")
	w.say(550, "RCPT TO:<a@example.com>")
	w.say(250, "RSET")
	tenant(t, pool, "b@example.net")
	w.begin("b@example.net")
	other := hello(t, s)
	other.begin("b@example.net")
	w.data(250, mailOf("3@x"))
	remove("b@example.net")
	tenant(t, pool, "b@example.net")
	other.data(250, mailOf("4@x"))
	list := mails(t, pool)
	require.Len(t, list, 3)
	var owner string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT tenant_id::text FROM fanmail.agents`).Scan(&owner))
	require.Equal(t, owner, list[2].Tenant, "the mail is its present owner's")
}

// TestSeveralServersCommitTheSameMails sends the same mails, which name each other, to two servers at once.
func TestSeveralServersCommitTheSameMails(t *testing.T) {
	t.Parallel()
	pool, one := quick(t, ingest.Options{})
	two := serve(t, pgtest.Open(t, pool.Config().ConnString()), ingest.Options{})
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		for _, s := range []*ingest.Server{one, two} {
			wg.Go(func() {
				deliverTo(t, s, "a@example.com", mailOf(fmt.Sprintf("%d@x", i), fmt.Sprintf("References: <%d@x> <%d@x>", i/2, (i+7)%n)))
			})
		}
	}
	wg.Wait()
	require.Len(t, mails(t, pool), n)
	var deadlocks int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)
}
