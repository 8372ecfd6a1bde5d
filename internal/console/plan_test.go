package console

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestSessionsAndLinksAreFoundByTheirIndexes among a hundred thousand others.
func TestSessionsAndLinksAreFoundByTheirIndexes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	const others = 100_000
	for _, fill := range []string{
		`INSERT INTO fanmail.console_sessions (token_hash, subject, scopes, expires_at)
			SELECT sha256(convert_to(i::text, 'UTF8')), 'subject ' || i / 50, '{admin}', now() + make_interval(secs => i - 3000) FROM generate_series(1, $1::int) AS i`,
		`INSERT INTO fanmail.console_links (token_hash, key_id, expires_at)
			SELECT sha256(convert_to(i::text, 'UTF8')), md5((i / 20)::text)::uuid, now() + make_interval(secs => i - 3000) FROM generate_series(1, $1::int) AS i`,
	} {
		_, err := pool.Exec(ctx, fill, others)
		require.NoError(t, err)
	}
	_, err := pool.Exec(ctx, `VACUUM ANALYZE fanmail.console_sessions, fanmail.console_links`)
	require.NoError(t, err)
	rec := pgplan.Open(t, url)
	s := &sessions{pool: rec.Pool}

	token, err := s.create(ctx, session{subject: "somebody", scopes: nil})
	require.NoError(t, err)
	for range maxSessions { // of one subject, so that there is an oldest one to end
		_, err = s.create(ctx, session{subject: "subject 7"})
		require.NoError(t, err)
	}
	rec.Of(t, "DELETE FROM fanmail.console_sessions WHERE token_hash = ANY").Within(t, pgplan.Bound{
		Indexes: []string{"console_sessions_pkey", "console_sessions_subject"}, Rows: 2*maxSessions + 10, Blocks: 200,
	})
	_, _ = s.load(ctx, token)
	rec.Of(t, "SELECT key_id, subject").Within(t, pgplan.Bound{Indexes: []string{"console_sessions_pkey"}, Rows: 1, Blocks: 10})
	require.NoError(t, s.view(ctx, hashToken(token), events.NewRandom[events.TenantKind]()))
	rec.Of(t, "viewed_tenant_id = $2").Within(t, pgplan.Bound{Indexes: []string{"console_sessions_pkey"}, Rows: 1, Blocks: 30})
	require.NoError(t, s.end(ctx, hashToken(token)))
	rec.Of(t, "DELETE FROM fanmail.console_sessions WHERE token_hash = $1").Within(t, pgplan.Bound{Indexes: []string{"console_sessions_pkey"}, Rows: 1, Blocks: 10})

	key := events.NewRandom[events.APIKeyKind]()
	for range maxLinks + 5 {
		token, _, err = s.createLink(ctx, key)
		require.NoError(t, err)
	}
	rec.Of(t, "DELETE FROM fanmail.console_links WHERE token_hash = ANY").Within(t, pgplan.Bound{
		Indexes: []string{"console_links_key", "console_links_pkey"}, Rows: maxLinks + 5, Blocks: 100,
	})
	_, err = s.findLink(ctx, token)
	require.NoError(t, err)
	rec.Of(t, "SELECT key_id FROM fanmail.console_links").Within(t, pgplan.Bound{Indexes: []string{"console_links_pkey"}, Rows: 1, Blocks: 10})
	_, err = s.useLink(ctx, token)
	require.NoError(t, err)
	rec.Of(t, "DELETE FROM fanmail.console_links WHERE token_hash = $1").Within(t, pgplan.Bound{Indexes: []string{"console_links_pkey"}, Rows: 1, Blocks: 10})

	_, err = retention.Run(ctx, rec.Pool, RetentionRules())
	require.NoError(t, err)
	for table, n := range map[string]int{"console_sessions": 3000, "console_links": 3000} {
		rec.Of(t, "SELECT token_hash FROM fanmail."+table+" WHERE expires_at").Within(t, pgplan.Bound{
			Indexes: []string{table + "_expiry", table + "_pkey"}, Rows: 2*n + 200, Sorted: n, Blocks: 20 * n,
		})
	}
	left := 0
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.console_sessions WHERE expires_at < $1`, time.Now().Add(-time.Minute)).Scan(&left))
	require.Zero(t, left)
}
