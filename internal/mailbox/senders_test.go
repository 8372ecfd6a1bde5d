package mailbox_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

func TestSendersAreFoundInEveryWayTheyAreWritten(t *testing.T) {
	t.Parallel()
	list, err := mailbox.CleanSenders("allow_senders", []string{
		"Bob@Example.COM", "@Bücher.example", "*.corp.example", "@corp.example.", `"bob"@example.com`, "*@all.example", " grün@xn--bcher-kva.example ",
	})
	require.NoError(t, err)
	require.Equal(t, []string{"*.corp.example", "@all.example", "@corp.example", "@xn--bcher-kva.example", "bob@example.com", "grün@xn--bcher-kva.example"}, list)
	rules := mailbox.SenderRules{Allow: list, Deny: list}
	for _, in := range []string{
		"bob@example.com", "BOB@EXAMPLE.COM", `"bob"@example.com`, `"b\ob"@example.com.`, "x@bücher.example", "x@xn--bcher-kva.example", "x@BÜCHER.example.",
		"x@corp.example", "x@a.corp.example", "x@b.a.corp.example", "x@ALL.example", `"a b"@all.example`, "\u212a@all.example",
	} {
		require.True(t, rules.Denies("somebody@else.example", in), in)
		require.True(t, rules.Allows([]string{in}), in)
	}
	for _, out := range []string{
		"", "bob", "@", "bob@", "bob+tag@example.com", "bob@mail.example.com", "x@notcorp.example", "x@corp.example.net", "corp.example", "x@sub.all.example",
		"bob@example.com@else.example", "*.corp.example", "x@example",
	} {
		require.False(t, rules.Denies(out), out)
		require.False(t, rules.Allows([]string{out}), out)
		require.False(t, rules.Allows([]string{"bob@example.com", out}), "every author must be allowed: "+out)
	}
	require.False(t, rules.Allows(nil))
	require.False(t, rules.Denies())
	require.True(t, mailbox.SenderRules{}.Allows(nil))
	require.False(t, mailbox.SenderRules{}.Denies("bob@example.com"))
}

func TestWrongListsOfSendersAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "bob", "@", "@com", "*.com", "*", "*.", "example.com", "Bob <bob@example.com>", "a@example.com, b@example.com", "@@example.com", "*.*.example.com",
		"a\x00@example.com", "@exa mple.com", "@127.0.0.1", "\u212aing@example.com", strings.Repeat("l", 250) + "@example.com", "@" + strings.Repeat("l.", 130) + "example",
	} {
		_, err := mailbox.CleanSenders("deny_senders", []string{"ok@example.com", bad})
		var wrong *events.FieldError
		require.ErrorAs(t, err, &wrong, bad)
		require.Equal(t, "deny_senders[1]", wrong.Field)
	}
	_, err := mailbox.CleanSenders("deny_senders", slices.Repeat([]string{"@example.com"}, mailbox.MaxSenders+1))
	require.ErrorContains(t, err, "limit is 1000")
}
