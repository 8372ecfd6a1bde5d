package mailbox_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// Each of these looks like, or folds to, an address that somebody else may have.
var imitations = map[string]string{
	"Kelvin sign":               "boo\u212a@example.com",
	"capital I with dot":        "\u0130nfo@example.com",
	"dotless i":                 "\u0131nfo@example.com",
	"long s":                    "\u017fales@example.com",
	"full width":                "\uff49nfo@example.com",
	"ligature":                  "of\ufb01ce@example.com",
	"mathematical letter":       "\U0001d41enfo@example.com",
	"right-to-left override":    "ofni\u202e@example.com",
	"left-to-right mark":        "in\u200efo@example.com",
	"isolate":                   "\u2066info@example.com",
	"zero width space":          "in\u200bfo@example.com",
	"soft hyphen":               "in\u00adfo@example.com",
	"byte order mark":           "info\ufeff@example.com",
	"private use":               "\ue000@example.com",
	"Kelvin sign in the domain": "info@ban\u212a.example",
	"full width in the domain":  "info@\uff45xample.com",
	"override in the domain":    "info@moc\u202e.example",
	"full stop of another kind": "info@example\u3002com",
	"NUL":                       "in\x00fo@example.com",
	"not UTF-8":                 "in\xfffo@example.com",
	"line break":                "info@example.com\r\nRCPT",
}

func TestNoAddressFoldsToSomebodyElses(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	theirs := map[string]bool{}
	for _, a := range []string{"book@example.com", "info@example.com", "sales@example.com", "office@example.com", "enfo@example.com", "info@bank.example"} {
		_, _, err := mailbox.CreateAgent(t.Context(), pool, tenant.ID, a, "")
		require.NoError(t, err)
		theirs[a] = true
	}
	for name, address := range imitations {
		_, created, err := mailbox.CreateAgent(t.Context(), pool, tenant.ID, address, "")
		var field *events.FieldError
		require.ErrorAs(t, err, &field, name)
		require.Equal(t, "address", field.Field, name)
		require.False(t, created)
		require.False(t, theirs[mailbox.Fold(address)], "mail to %s is not theirs: %s", name, mailbox.Fold(address))
		missing, err := mailbox.MissingAgent(t.Context(), pool, tenant.ID, address)
		require.NoError(t, err, name)
		require.Equal(t, address, missing, name)
	}
}

// The ways to write one address are one agent.
func TestOneAddressIsOneAgent(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	for want, ways := range map[string][]string{
		"a+b.c_d@example.com":                  {"A+B.C_d@Example.COM", "a+b.c_d@example.com"},
		"ren\u00e9@example.com":                {"RENE\u0301@example.com", "Ren\u00c9@EXAMPLE.com", "rene\u0301@example.com"},
		"info@xn--mnchen-3ya.de":               {"info@m\u00fcnchen.de", "info@M\u00dcNCHEN.de", "info@mu\u0308nchen.de", "Info@XN--mnchen-3ya.DE"},
		"\u0437\u0434\u0440\u0430@example.com": {"\u0417\u0434\u0440\u0430@example.com"},
		"\u7528\u6237@example.com":             {"\u7528\u6237@example.com"},
	} {
		a, created, err := mailbox.CreateAgent(t.Context(), pool, tenant.ID, ways[0], "")
		require.NoError(t, err, ways[0])
		require.True(t, created)
		require.Equal(t, want, a.Address)
		for _, way := range ways {
			require.Equal(t, want, mailbox.Fold(way))
			_, created, err = mailbox.CreateAgent(t.Context(), pool, tenant.ID, way, "")
			require.NoError(t, err)
			require.False(t, created, way)
		}
	}
	_, err = mailbox.GetAgent(t.Context(), pool, tenant.ID, "nobody@example.com")
	require.ErrorIs(t, err, pgx.ErrNoRows)
}
