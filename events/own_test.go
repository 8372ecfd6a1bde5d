package events_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestTheNamesOfOwnTypes(t *testing.T) {
	t.Parallel()
	for _, name := range []events.Type{
		"order.created", "order.line-item.added", "a.b", "0.1", "ticket_2.re_opened", "emails.sent", "x.email",
		events.Type("a." + strings.Repeat("b", events.MaxTypeBytes-2)),
	} {
		require.NoError(t, name.CheckOwn(), name)
		require.True(t, name.Own() && name.Possible() && !name.Known(), name)
	}
	for name, want := range map[events.Type]string{
		"":               "is empty or ends with a dot",
		"order":          "needs two parts or more",
		"order.":         "ends with a dot",
		".created":       "character 1",
		"order..created": "character 7",
		"Order.created":  "character 1",
		"order.Created":  "character 7",
		"order created":  "character 6",
		"order.*":        "character 7",
		"order.créated":  "character 9",
		"order.-x":       "character 7",
		"order.a\x00":    "character 8",
		"email.eaten":    "begins with email., which is for Fanmail's own types; so are agent., delivery., domain., email., fanmail., webhook.",
		"fanmail.news":   "begins with fanmail.",
		"webhook.called": "begins with webhook.",
		"delivery.late":  "begins with delivery.",
		events.Type("a." + strings.Repeat("b", events.MaxTypeBytes-1)): "has 101 bytes; the limit is 100",
	} {
		err := name.CheckOwn()
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault, name)
		require.Equal(t, "name", fault.Field)
		require.Contains(t, fault.Reason, want, name)
		require.False(t, name.Own(), name)
	}
	for _, builtIn := range events.Catalogue() {
		require.False(t, builtIn.Own(), builtIn)
		require.True(t, builtIn.Possible(), builtIn)
	}
}

func TestWhatAPatternSelects(t *testing.T) {
	t.Parallel()
	for pattern, selected := range map[events.Type][]events.Type{
		"*":             {"order.created", "order.line.added", "orders.created", "email.sent", "webhook.disabled"},
		"order.*":       {"order.created", "order.line.added"},
		"order.line.*":  {"order.line.added"},
		"order.created": {"order.created"},
		"email.*":       {"email.sent"},
		"webhook.*":     {"webhook.disabled"},
		"order":         nil,
		"":              nil,
	} {
		var got []events.Type
		for _, typ := range []events.Type{"order.created", "order.line.added", "orders.created", "email.sent", "webhook.disabled"} {
			if pattern.Selects(typ) {
				got = append(got, typ)
				if pattern != typ {
					require.Contains(t, typ.Selectors(), pattern)
				}
			}
		}
		require.Equal(t, selected, got, pattern)
	}
	require.False(t, events.Type("order.*").Selects("order."), "the rest has a character or more")
	require.ElementsMatch(t, []events.Type{"a.b.c", "a.b.*", "a.*", "*"}, events.Type("a.b.c").Selectors())
}

func TestASelectorIsRefusedWithThePlaceOfItsFault(t *testing.T) {
	t.Parallel()
	for _, good := range []events.Type{"*", "order.*", "to.come.*", "order.created", "email.sent", "email.*", "webhook.*", "webhook.disabled"} {
		require.Empty(t, good.CheckSelector(), good)
	}
	for bad, want := range map[events.Type]string{
		"":                "known types: email.received",
		"email.eaten":     "known types: email.received",
		"order":           "known types",
		"*.created":       "the * at character 1 may stand only at the end",
		"order.*.created": "the * at character 7 may stand only at the end",
		"order.**":        "the * at character 7 may stand only at the end",
		"order*":          "the * at character 6 must follow a dot",
		"**":              "the * at character 1",
		".*":              "is empty or ends with a dot",
		"Order.*":         "character 1",
		"order..*":        "ends with a dot",
		"email.eaten.*":   "selects no type; those of Fanmail that begin with email. are: email.received",
		"fanmail.*":       "selects no type; those of Fanmail that begin with fanmail. are: none yet",
		events.Type(strings.Repeat("a", 101) + ".*"): "has 101 bytes; the limit is 100",
	} {
		require.Contains(t, bad.CheckSelector(), want, bad)
		require.Less(t, len(bad.CheckSelector()), 2048)
	}
}

func BenchmarkSelects(b *testing.B) {
	types := []events.Type{"email.received", "email.sent", "order.*"}
	n := 0
	for b.Loop() {
		for _, t := range types {
			if t.Selects("email.sent") {
				n++
			}
		}
	}
	require.Positive(b, n)
}
