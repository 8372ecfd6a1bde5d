package mailsearch_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

// forms are the same mail in the envelopes that the event log can hold.
var forms = map[string]string{
	"Fanmail's": `{"type":"email.received","id":"evt_1","created_at":"x","schema_version":"1","data":{"message_id":"m","envelope":{"from":"bounce@lists.example","to":["robot+x@corp.example"]},` +
		`"from":[{"name":"Ann Müller","address":"Ann@Shop.example"}],"to":[{"name":"","address":"team@corp.example"}],"cc":[{"name":"","address":"boss@corp.example"}],"sender":null,` +
		`"subject":"Your Order \u00c4 \"42\"","text":"from nobody@nowhere.example subject none"}}`,
	"e2a's": `{"event": "email.received", "id": "x", "data": {"raw_message": "AAAA", "from": "Ann Müller <ann@shop.example>", "to": ["bounce@lists.example", "team@corp.example"], ` +
		`"cc": "boss@corp.example", "recipient": "robot+x@corp.example", "subject": "Your order Ä \"42\"", "auth_headers": {"from": "nobody@nowhere.example"}, "sender": "bounce@lists.example"} }`,
	"a producer's": "{\"type\":\"email.sent\",\"data\":{\n \"body\":{\"subject\":\"none\",\"from\":\"nobody@nowhere.example\"}, \"\\u0073ubject\" : \"your order ä \\\"42\\\"\" ,\"from\":{\"email\":\"ann@shop.example\",\"name\":\"ann müller\"}, " +
		"\"sender\":\"bounce@lists.example\",\"to\":\"Team <team@corp.example>, boss@corp.example;robot+x@corp.example\"}}",
}

func TestTermsFindTheMailInEveryFormOfEnvelope(t *testing.T) {
	t.Parallel()
	for name, envelope := range forms {
		require.True(t, json.Valid([]byte(envelope)), name)
		for _, terms := range []mailsearch.Terms{
			{},
			{From: "ann@shop.example"},
			{From: "ANN@SHOP.EXAMPLE"},
			{From: "@shop.example"},
			{From: "shop"},
			{From: "müller"},
			{From: " MÜLLER "},
			{From: "bounce@lists.example"},
			{To: "team@corp.example"},
			{To: "boss@corp.example"},
			{To: "robot+x@corp.example"},
			{To: "@corp.example"},
			{To: "agent@a.example"},
			{Subject: "order"},
			{Subject: "ORDER Ä"},
			{Subject: `"42"`},
			{From: "ann", To: "team", Subject: "order"},
		} {
			require.True(t, mailsearch.New(terms).Match("agent@a.example", []byte(envelope)), "%s: %+v", name, terms)
		}
		for _, terms := range []mailsearch.Terms{
			{From: "nn@shop.example"},
			{From: "@hop.example"},
			{From: "nobody"},
			{From: "team@corp.example"},
			{To: "ann@shop.example"},
			{To: "nobody"},
			{Subject: "none"},
			{Subject: "ann"},
			{From: "ann", To: "team", Subject: "other"},
		} {
			require.False(t, mailsearch.New(terms).Match("agent@a.example", []byte(envelope)), "%s: %+v", name, terms)
		}
	}
}

func TestBytesThatAreNoEnvelopeMatchNothing(t *testing.T) {
	t.Parallel()
	m := mailsearch.New(mailsearch.Terms{Subject: "order"})
	for _, form := range forms {
		for n := range len(form) {
			_ = m.Match("", []byte(form[:n]))
			_ = mailsearch.HeaderOf([]byte(form[:n]))
		}
	}
	for _, b := range []string{"", "null", "[]", `"order"`, "{", `{"data"`, `{"data":`, `{"data":"order"}`, `{"data":{"subject":["order"]}}`, `{"data":[{"subject":"order"}]}`, `{"subject":"order"}`, `}{"data":{"subject":"order"}}`} {
		require.False(t, m.Match("", []byte(b)), b)
	}
}

func TestTheHeaderIsThatOfTheDataItself(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"message_id_header":"a@b"}`: "a@b",
		`{"text":"\"message_id_header\":\"x\"","nested":{"message_id_header":"x"}, "message_id_header" : " <a@b> "}`: "a@b",
		`{"message_id_header":"<a\u0040b>"}`:   "a@b",
		`{"message_id_header":7}`:              "",
		`{"nested":{"message_id_header":"x"}}`: "",
		`{}`:                                   "",
	} {
		require.Equal(t, want, mailsearch.HeaderOf([]byte(data)), data)
	}
}

func BenchmarkMatch(b *testing.B) {
	envelope := []byte(`{"type":"email.received","data":{"text":"` + strings.Repeat(`a line of text\r\n`, 500) + `","from":[{"name":"x","address":"a@b.example"}],"subject":"Hello"}}`)
	m := mailsearch.New(mailsearch.Terms{Subject: "order"})
	b.SetBytes(int64(len(envelope)))
	for b.Loop() {
		_ = m.Match("", envelope)
	}
}

func TestASummaryNeedsTheHeadOfTheEnvelopeAlone(t *testing.T) {
	t.Parallel()
	for name, envelope := range forms {
		from, subject := mailsearch.Summary([]byte(envelope))
		require.Equal(t, "ann müller <ann@shop.example>", strings.ToLower(from), name)
		require.Equal(t, `your order ä "42"`, strings.ToLower(subject), name)
		for n := range len(envelope) {
			cutFrom, cutSubject := mailsearch.Summary([]byte(envelope[:n]))
			require.True(t, cutFrom == from || cutFrom == "", "%s, %d bytes: %q", name, n, cutFrom)
			require.True(t, cutSubject == subject || cutSubject == "", "%s, %d bytes: %q", name, n, cutSubject)
		}
	}
	from, subject := mailsearch.Summary([]byte(`{"data":{"from":[],"subject":7}}`))
	require.Empty(t, from+subject)
}
