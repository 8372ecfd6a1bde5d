package ingest_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// tripConn counts what is sent to the database: a round trip each.
type tripConn struct {
	net.Conn

	trips *atomic.Int32
}

func (c *tripConn) Write(p []byte) (int, error) {
	c.trips.Add(1)
	return c.Conn.Write(p)
}

// tripping returns a pool of one connection at a time that counts round trips.
func tripping(t *testing.T, pool *pgxpool.Pool) (counted *pgxpool.Pool, trips *atomic.Int32) {
	t.Helper()
	trips = new(atomic.Int32)
	few := func(cfg *pgxpool.Config) { cfg.MaxConns, cfg.MinConns, cfg.HealthCheckPeriod = 3, 0, time.Hour }
	return wrapped(t, pool, func(c net.Conn) net.Conn { return &tripConn{c, trips} }, few), trips
}

// TestAMailThatBeginsAConversationTakesOneRoundTrip counts those of mails once their statements are prepared.
func TestAMailThatBeginsAConversationTakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant(t, pool, "a@example.com", "hooked@example.com")
	_, err := pool.Exec(t.Context(), `UPDATE fanmail.agents SET webhook_url = 'https://example.com' WHERE address = 'hooked@example.com'`)
	require.NoError(t, err)
	counted, trips := tripping(t, pool)
	s := serve(t, counted, ingest.Options{Usage: usage.New(pool, nil)})
	kinds := []struct {
		name, agent string
		raw         func(n int) string
		trips       int
	}{
		{"first", "a@example.com", func(n int) string { return mailOf(fmt.Sprintf("first%d@x", n)) }, 1},
		{"no Message-ID", "a@example.com", func(n int) string { return fmt.Sprintf("Subject: %d\r\n\r\ntext\r\n", n) }, 1},
		{"own webhook", "hooked@example.com", func(n int) string { return mailOf(fmt.Sprintf("hooked%d@x", n)) }, 1},
		{"answer", "a@example.com", func(n int) string { return mailOf(fmt.Sprintf("answer%d@x", n), "In-Reply-To: <first0@x>") }, 2},
		{"same again", "a@example.com", func(int) string { return mailOf("first0@x") }, 3},
	}
	for _, k := range kinds {
		least := 100
		for n := range 4 { // some have statements to prepare
			before := trips.Load()
			deliverTo(t, s, k.agent, k.raw(n))
			least = min(least, int(trips.Load()-before))
		}
		require.Equal(t, k.trips, least, k.name)
	}
	list := mails(t, pool)
	require.Len(t, list, 16)
	for _, m := range list[12:] {
		require.Equal(t, list[0].Data.ConversationID, m.Data.ConversationID, "an answer is in the conversation")
	}
	var deliveries int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.webhook_deliveries AS d JOIN fanmail.messages AS m ON m.id = d.message_id
		AND m.created_at = d.created_at AND m.agent_id = 'hooked@example.com'`).Scan(&deliveries))
	require.Equal(t, 4, deliveries)
}

// TestAMailInOneRoundTripSeesWhatHasChanged changes what RCPT has read, and holds what others may hold.
func TestAMailInOneRoundTripSeesWhatHasChanged(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	hooks := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.webhook_deliveries`).Scan(&n))
		return n
	}
	exec := func(sql string) {
		_, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	w.begin("a@example.com")
	exec(`UPDATE fanmail.agents SET webhook_url = 'https://example.com'`)
	w.data(250, mailOf("1@x"))
	require.Equal(t, 1, hooks(), "a webhook that is new")
	w.begin("a@example.com")
	exec(`UPDATE fanmail.agents SET webhook_url = NULL`)
	w.data(250, mailOf("2@x"))
	require.Equal(t, 1, hooks(), "a webhook that was removed")
	w.begin("a@example.com")
	exec(`UPDATE fanmail.agents SET deny_senders = '{@example.org}'`)
	require.Contains(t, w.data(550, mailOf("3@x")), "deny_senders")
	exec(`UPDATE fanmail.agents SET deny_senders = '{}'`)

	// An answer that is being committed names the mail: both are one conversation.
	release := held(t, pool, `LOCK TABLE fanmail.message_raws IN SHARE MODE`)
	answer := hello(t, s)
	answer.begin("a@example.com")
	answer.say(354, "DATA")
	answer.send(mailOf("answer@x", "References: <root@x> <first@x>") + ".\r\n")
	require.Eventually(t, func() bool { return waitsForLock(t, pool) == 1 }, patience, 5*time.Millisecond)
	other := serve(t, pool, ingest.Options{}) // in another process
	first := hello(t, other)
	first.begin("a@example.com")
	first.say(354, "DATA")
	first.send(mailOf("first@x") + ".\r\n")
	require.Eventually(t, func() bool { return waitsForLock(t, pool) == 2 }, patience, 5*time.Millisecond)
	release()
	answer.expect(250)
	first.expect(250)
	list := mails(t, pool)
	require.Len(t, list, 4)
	require.Equal(t, list[2].Data.ConversationID, list[3].Data.ConversationID)
}

func waitsForLock(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
	return n
}

// TestAMailWhoseCommitHadNoAnswerCountsOnce loses the answer once, and then so often that the client sends the mail again.
func TestAMailWhoseCommitHadNoAnswerCountsOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	of := limited(t, pool, tenancy.Quota{EventsPerDay: 10}, "a@example.com")
	cut, armed := cutting(t, pool)
	counter := usage.New(pool, nil)
	s := serve(t, cut, ingest.Options{Usage: counter})
	w := hello(t, s)
	total := 0
	for i, size := range []int{300, 200_000} { // in a group, and alone
		armed.Store(1)
		w.begin("a@example.com")
		w.data(250, letter(2*i, size))
		require.Negative(t, armed.Add(-1), "an answer was lost")
		total += size
		uses(t, counter, of, 2*i+1, total)

		armed.Store(2)
		w.begin("a@example.com")
		w.data(451, letter(2*i+1, size))
		armed.Store(0)
		total += size
		want := usage.Amount{Events: int64(2*i + 2), Bytes: int64(total)}
		require.Eventually(t, func() bool {
			got, err := counter.Today(t.Context(), of)
			require.NoError(t, err)
			return got == want
		}, patience, 10*time.Millisecond, "it was committed")
		w.begin("a@example.com")
		w.data(250, letter(2*i+1, size))
		uses(t, counter, of, 2*i+2, total)
	}
	require.Len(t, mails(t, pool), 4)
}
