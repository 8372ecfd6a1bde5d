package mailbox_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestTheAgentsThatMayTakeMailAreNamedMostExactFirst(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][]string{
		"Robot@Example.com":          {"robot@example.com", "*@example.com"},
		"robot+Tag@example.com":      {"robot+tag@example.com", "robot@example.com", "*@example.com"},
		"robot+a+b@example.com":      {"robot+a+b@example.com", "robot@example.com", "*@example.com"},
		"robot+@example.com":         {"robot+@example.com", "robot@example.com", "*@example.com"},
		"+tag@example.com":           {"+tag@example.com", "*@example.com"},
		"a@b+c@example.com":          {"a@b+c@example.com", "a@b@example.com", "*@example.com"},
		"*@example.com":              {"*@example.com"},
		"ö+x@münchen.example":        {"ö+x@xn--mnchen-3ya.example", "ö@xn--mnchen-3ya.example", "*@xn--mnchen-3ya.example"},
		"robot+\u212a@example.com":   {"robot@example.com", "*@example.com"}, // the Kelvin sign is no k
		"\u212aelvin@example.com":    {"*@example.com"},
		"robot@example\u3002com":     nil,
		"robot":                      nil,
		"@example.com":               nil,
		"robot@":                     nil,
		"robot@sub.Example.com":      {"robot@sub.example.com", "*@sub.example.com"},
		"postmaster@[192.0.2.1]":     {"postmaster@[192.0.2.1]", "*@[192.0.2.1]"},
		"john doe+x y@example.com":   {"john doe+x y@example.com", "john doe@example.com", "*@example.com"},
		"robot+tag@xn--a.example.ab": {"robot+tag@xn--a.example.ab", "robot@xn--a.example.ab", "*@xn--a.example.ab"},
	} {
		require.Equal(t, want, mailbox.Candidates(address), address)
	}
}

func TestTheRecipientKeepsTheCaseOfItsTag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ agent, address, recipient, tag string }{
		{"robot@example.com", "Robot@Example.COM", "robot@example.com", ""},
		{"robot@example.com", "Robot+AbC@Example.COM", "robot+AbC@example.com", "AbC"},
		{"robot@example.com", "robot+a+b@example.com", "robot+a+b@example.com", "a+b"},
		{"robot@example.com", "robot+@example.com", "robot+@example.com", ""},
		{"robot+tag@example.com", "Robot+Tag@example.com", "robot+tag@example.com", ""},
		{"*@example.com", "Ann@example.com", "ann@example.com", ""},
		{"*@example.com", "Ann+X@example.com", "ann+X@example.com", "X"},
		{"*@example.com", "\u212a@example.com", "\u212a@example.com", ""},
		{"desk@example.org", "Postmaster@example.com", "postmaster@example.com", ""},
	} {
		recipient, tag := mailbox.Recipient(c.agent, c.address)
		require.Equal(t, []string{c.recipient, c.tag}, []string{recipient, tag}, c.address)
	}
}

func TestTheMostExactAgentTakesTheMail(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	own := tenant(t, pool)
	for _, a := range []string{"robot@example.com", "robot+vip@example.com", "*@example.com"} {
		_, created, err := mailbox.CreateAgent(ctx, pool, own, a, "")
		require.NoError(t, err)
		require.True(t, created)
	}
	for address, want := range map[string]string{
		"ROBOT@example.com": "robot@example.com", "robot+x@example.com": "robot@example.com", "robot+VIP@example.com": "robot+vip@example.com",
		"robot+vip+x@example.com": "robot@example.com", "other+x@example.com": "*@example.com", "*@example.com": "*@example.com",
	} {
		a, now, err := mailbox.FindRoute(ctx, pool, address)
		require.NoError(t, err, address)
		require.Equal(t, want, a.Address, address)
		require.Equal(t, own, a.TenantID)
		require.False(t, now.IsZero())
	}
	for _, address := range []string{"robot@sub.example.com", "robot@example.org", "robot"} {
		_, _, err := mailbox.FindRoute(ctx, pool, address)
		require.ErrorIs(t, err, pgx.ErrNoRows, address)
	}
	_, _, err := mailbox.CreateAgent(ctx, pool, own, "*@localhost", "")
	require.ErrorContains(t, err, "names no domain after *@")
	_, _, err = mailbox.CreateAgent(ctx, pool, own, "*@*", "")
	require.Error(t, err)
}

// Mail for the last owner of an address may still arrive: whoever has the domain now must not read it.
func TestNobodyTakesMailForAnAddressThatAnotherTenantReleased(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), pgtest.Pool(t)
	last, next := tenant(t, pool), tenant(t, pool)
	for _, a := range []string{"robot@example.com", "ann+x@example.com"} {
		_, _, err := mailbox.CreateAgent(ctx, pool, last, a, "")
		require.NoError(t, err)
		require.NoError(t, mailbox.DeleteAgent(ctx, pool, last, a))
	}
	for _, a := range []string{"*@example.com", "ann@example.com"} {
		_, created, err := mailbox.CreateAgent(ctx, pool, next, a, "")
		require.NoError(t, err)
		require.True(t, created)
	}
	for _, address := range []string{"robot@example.com", "robot+x@example.com", "ann+x@example.com"} {
		_, _, err := mailbox.FindRoute(ctx, pool, address)
		require.ErrorIs(t, err, pgx.ErrNoRows, address)
	}
	for _, address := range []string{"other@example.com", "ann@example.com", "ann+y@example.com"} {
		_, _, err := mailbox.FindRoute(ctx, pool, address)
		require.NoError(t, err, address)
	}
	_, err := pool.Exec(ctx, `UPDATE fanmail.released_names SET released_at = released_at - make_interval(secs => $1)`, mailbox.Quarantine.Seconds())
	require.NoError(t, err)
	a, _, err := mailbox.FindRoute(ctx, pool, "robot@example.com")
	require.NoError(t, err)
	require.Equal(t, "*@example.com", a.Address)

	// The tenant's own deleted address is the catch-all's.
	_, _, err = mailbox.CreateAgent(ctx, pool, next, "own@example.com", "")
	require.NoError(t, err)
	require.NoError(t, mailbox.DeleteAgent(ctx, pool, next, "own@example.com"))
	a, _, err = mailbox.FindRoute(ctx, pool, "own@example.com")
	require.NoError(t, err)
	require.Equal(t, "*@example.com", a.Address)
}
