package ingest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// mailOf is a mail of the Message-ID with these further header fields.
func mailOf(id string, fields ...string) string {
	return "From: x@example.org\r\nMessage-ID: <" + id + ">\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\nhi\r\n"
}

func deliverTo(t *testing.T, s *ingest.Server, agent, raw string) {
	t.Helper()
	w := hello(t, s)
	w.begin(agent)
	w.data(250, raw)
}

// conversations gives how many mails each conversation has.
func conversations(t *testing.T, pool *pgxpool.Pool) map[string]int {
	t.Helper()
	of := map[string]int{}
	for _, m := range mails(t, pool) {
		of[m.Data.ConversationID]++
	}
	return of
}

func TestMailsThatNameOnlyTheOneBeforeAreOneConversation(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"in order": {
			mailOf("1@x"), mailOf("2@x", "In-Reply-To: <1@x>"), mailOf("3@x", "In-Reply-To: <2@x>"), mailOf("4@x", "In-Reply-To: Your message of Monday <3@x>"),
		},
		"the oldest last": {
			mailOf("4@x", "References: <3@x>"), mailOf("3@x", "In-Reply-To: <2@x>"), mailOf("2@x", "In-Reply-To: <1@x>"), mailOf("1@x"),
		},
		"references that begin elsewhere": {
			mailOf("1@x"), mailOf("2@x", "References: <lost@x> <1@x>"), mailOf("3@x", "References: <2@x>"), mailOf("4@x", "References: <gone@x> <gone2@x>", "In-Reply-To: <3@x>"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, s := quick(t, ingest.Options{})
			for _, raw := range order {
				deliverTo(t, s, "a@example.com", raw)
			}
			deliverTo(t, s, "a@example.com", mailOf("other@x", "In-Reply-To: message of somebody"))
			deliverTo(t, s, "a@example.com", mailOf("another@x", "In-Reply-To: message from somebody else"))
			of := conversations(t, pool)
			require.Len(t, of, 3, "words are no ids")
			first := mails(t, pool)[0]
			require.Equal(t, 4, of[first.Data.ConversationID])
		})
	}
}

// Both answers name a mail that nobody has seen, and each begins its own
// References. The first is held up before its commit; the second has to wait.
func TestAnswersThatArriveAtTheSameTimeAgree(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool, s := quick(t, ingest.Options{})
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.strict_tenants SELECT id FROM fanmail.tenants ON CONFLICT DO NOTHING`)
	require.NoError(t, err)
	hold, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = hold.Rollback(ctx) }()
	_, err = hold.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM fanmail.tenants`)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			deliverTo(t, s, "a@example.com", mailOf(fmt.Sprintf("answer%d@x", i), fmt.Sprintf("References: <begin%d@x> <asked@x>", i)))
		})
	}
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			OR NOT granted AND locktype = 'transactionid'`).Scan(&waiting)
		return err == nil && waiting >= 2
	}, patience, 10*time.Millisecond)
	require.NoError(t, hold.Rollback(ctx))
	wg.Wait()
	require.Len(t, conversations(t, pool), 1)
	deliverTo(t, s, "a@example.com", mailOf("asked@x", "In-Reply-To: <before@x>"))
	require.Len(t, conversations(t, pool), 1, "nor is the mail that they answered elsewhere")
}

func TestConversationsNeverCrossTenants(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	tenant(t, pool, "b@example.net")
	deliverTo(t, s, "a@example.com", mailOf("2@x", "References: <1@x>"))
	for _, agent := range []string{"a@example.com", "b@example.net"} {
		deliverTo(t, s, agent, mailOf("3@x", "In-Reply-To: <2@x>"))
	}
	w := hello(t, s)
	w.begin("b@example.net", "a@example.com")
	w.data(250, mailOf("4@x", "In-Reply-To: <3@x>"))
	of := map[string]map[string]bool{}
	for _, m := range mails(t, pool) {
		if of[m.Agent] == nil {
			of[m.Agent] = map[string]bool{}
		}
		of[m.Agent][m.Data.ConversationID] = true
	}
	require.Len(t, of["a@example.com"], 1)
	require.Len(t, of["b@example.net"], 1)
	require.NotEqual(t, of["a@example.com"], of["b@example.net"])
	for _, agent := range []string{"a@example.com", "b@example.net"} {
		deliverTo(t, s, agent, mailOf("same@x"))
	}
	require.Len(t, conversations(t, pool), 4, "nor has a thread that both begin one name")
}

// Whatever a mail names, a bounded number of its ids is looked up and kept:
// its own, the nearest, and the root.
func TestAMailOfManyReferencesIsPlacedByTheNearestAndTheRoot(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	many := make([]string, 2000)
	for i := range many {
		many[i] = fmt.Sprintf("<%d@x>", i)
	}
	deliverTo(t, s, "a@example.com", mailOf("own@x", "In-Reply-To: "+strings.Join(many[1990:], "\r\n "), "References: "+strings.Join(many, "\r\n ")))
	var rows int
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.conversation_keys`).Scan(&rows))
	require.Equal(t, 20, rows)
	for i, named := range []string{"own@x", "1999@x", "0@x"} {
		deliverTo(t, s, "a@example.com", mailOf(fmt.Sprintf("answer%d@x", i), "In-Reply-To: <"+named+">"))
	}
	require.Len(t, conversations(t, pool), 1)
}

// A bucket counts for 30 days after its end, and what is used again lives on.
func TestAConversationLivesAsLongAsItIsAnswered(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	pool, s := quick(t, ingest.Options{})
	deliverTo(t, s, "a@example.com", mailOf("2@x", "In-Reply-To: <1@x>"))
	age := func() {
		_, err := pool.Exec(ctx, `UPDATE fanmail.conversation_keys SET bucket = bucket - 1`)
		require.NoError(t, err)
	}
	age()
	deliverTo(t, s, "a@example.com", mailOf("3@x", "In-Reply-To: <2@x>"))
	_, err := pool.Exec(ctx, `DELETE FROM fanmail.conversation_keys WHERE bucket < floor(extract(epoch FROM now()) / 2592000)::integer`)
	require.NoError(t, err)
	deliverTo(t, s, "a@example.com", mailOf("4@x", "In-Reply-To: <2@x>"))
	require.Len(t, conversations(t, pool), 1, "2@x was answered, and is known on")
	_, err = pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 60, 1)`)
	require.NoError(t, err)
	age()
	age()
	deliverTo(t, s, "a@example.com", mailOf("5@x", "In-Reply-To: <4@x>"))
	require.Len(t, conversations(t, pool), 2)
}

// Finding a mail's place costs some descents of an index for each id, however
// many mails are known, and a mail that waits for nobody locks no known id.
func TestPlacingAMailReadsTheIndex(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	ten := tenant(t, pool, "a@example.com")
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.conversation_keys (bucket, tenant_id, mail, conversation)
		SELECT floor(extract(epoch FROM now()) / 2592000)::integer - i % 2, $1, gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 20000) AS i`, ten)
	require.NoError(t, err)
	for i, when := range []string{"never analyzed", "analyzed"} {
		r := pgplan.Open(t, url)
		s := serve(t, r.Pool, ingest.Options{})
		many := ""
		for n := range 30 {
			many += fmt.Sprintf(" <%d.%d@x>", i, n)
		}
		deliverTo(t, s, "a@example.com", mailOf(fmt.Sprintf("own%d@x", i), "References:"+many))
		for _, statement := range []string{"pg_try_advisory_xact_lock(lock)", "SELECT DISTINCT ON (k.tenant_id, k.mail)"} {
			p := r.Of(t, statement)
			t.Logf("%s: %d rows read, %d sorted, %d blocks", when, p.Rows(), p.Sorted(), p.Blocks())
			p.Within(t, pgplan.Bound{Indexes: []string{"conversation_keys_pkey"}, Rows: 200, Sorted: 200, Blocks: 1000})
		}
		_, err := pool.Exec(ctx, `ANALYZE fanmail.conversation_keys`)
		require.NoError(t, err)
	}
}
