package mailbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestARawMailGoesWithItsLastMessage stores mails as ingest does, one of them for agents of two tenants, and holds one
// tenant after the other to a short time.
func TestARawMailGoesWithItsLastMessage(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	_, err := pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 6, 7)`)
	require.NoError(t, err)
	one, two := tenant(t, pool), tenant(t, pool)
	message := func(of events.TenantID) mailbox.Message {
		return mailbox.Message{ID: events.NewRandom[events.MessageKind](), TenantID: of, AgentID: "a@example.com", EventID: events.NewID()}
	}
	both, own := mailbox.Mail{Raw: []byte("both"), Messages: []mailbox.Message{message(one), message(two)}}, mailbox.Mail{Raw: []byte("own"), Messages: []mailbox.Message{message(one)}}
	b := &pgx.Batch{}
	mailbox.QueueMails(b, time.Now().Add(-5*24*time.Hour).Truncate(time.Microsecond), []mailbox.Mail{both, own})
	require.NoError(t, pool.SendBatch(ctx, b).Close())
	raws := func() (list []string) {
		t.Helper()
		require.NoError(t, pool.QueryRow(ctx, `SELECT coalesce(array_agg(convert_from(raw, 'UTF8') ORDER BY raw), '{}') FROM fanmail.message_raws`).Scan(&list))
		return list
	}
	require.Equal(t, []string{"both", "own"}, raws())
	for _, step := range []struct {
		of   events.TenantID
		left []string
	}{{one, []string{"both"}}, {two, []string{}}} {
		shorter := func(_ context.Context, _ pg.DB, after events.TenantID, _ int) ([]retention.Tenant, error) {
			if after.IsZero() {
				return []retention.Tenant{{ID: step.of, Mail: 4 * 24 * time.Hour}}, nil
			}
			return nil, nil
		}
		_, err := retention.Run(ctx, pool, mailbox.RetentionRules(retention.Policy{Tenants: shorter}))
		require.NoError(t, err)
		require.Equal(t, step.left, raws())
	}
	var messages int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.messages`).Scan(&messages))
	require.Zero(t, messages)
}
