package mailsearch_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

func involves(address, agent, envelope string) bool {
	return mailsearch.New(mailsearch.Terms{Involves: address}).Match(agent, []byte(envelope))
}

func TestAnAddressIsInvolvedWhereverAMailNamesIt(t *testing.T) {
	t.Parallel()
	for name, envelope := range forms {
		for _, address := range []string{"ann@shop.example", "ANN@Shop.Example", "bounce@lists.example", "team@corp.example", "boss@corp.example", "robot+x@corp.example", "Agent@a.example"} {
			require.True(t, involves(address, "agent@a.example", envelope), "%s: %s", name, address)
		}
		for _, address := range []string{"nn@shop.example", "ann@shop.example.org", "nobody@nowhere.example", "a@shop.example"} {
			require.False(t, involves(address, "agent@a.example", envelope), "%s: %s", name, address)
		}
	}
	for _, data := range []string{
		`{"reply_to":["Ann <Ann@shop.example>"]}`,
		`{"resent":{"from":[{"name":"","address":"ann@shop.example"}],"to":[]}}`,
		`{"resent":{"from":[],"to":[{"name":"","address":"ann@shop.example"}]}}`,
		`{"bounce":{"recipient":"x@y.example","recipients":[{"recipient":"x@y.example"},{"recipient":"ann@shop.example"}]}}`,
		`{"bounce":{"recipient":"ann@shop.example","recipients":null}}`,
		`{"complaint":{"feedback_type":"abuse","recipient":"ann@shop.example"}}`,
		`{"headers":[["From","x@y.example"],["BCC","Carl <c@y.example>, Ann <ann@shop.example>"]]}`,
		`{"headers":[["Return-Path","<ann@shop.example>"]]}`,
		`{"headers":[["X-Original-To","ann@shop.example"]]}`,
	} {
		require.True(t, involves("ann@shop.example", "", `{"data":`+data+`}`), data)
		require.False(t, involves("nn@shop.example", "", `{"data":`+data+`}`), data)
	}
	for _, data := range []string{
		`{"headers":[["Subject","ann@shop.example"],["Bcc"],[],["X-Other","ann@shop.example"]]}`,
		`{"headers":"ann@shop.example"}`,
		`{"bounce":{"diagnostic":"ann@shop.example is full"}}`,
		`{"text":"ann@shop.example"}`,
	} {
		require.False(t, involves("ann@shop.example", "", `{"data":`+data+`}`), "a text that mentions it: %s", data)
	}
}

// TestAnAddressIsTheSameInEachSpelling asks for an address in each spelling in which a mail may have it.
func TestAnAddressIsTheSameInEachSpelling(t *testing.T) {
	t.Parallel()
	for _, spellings := range [][]string{
		{"ann@shop.example", "Ann@SHOP.example", `"ann"@shop.example`, `"a\nn"@shop.example`},
		{"ann@bücher.example", "ANN@BÜCHER.example", "ann@xn--bcher-kva.example", "ann@XN--BCHER-KVA.example", "ann@bu\u0308cher.example", "ann@bücher\u3002example"},
		{"jörg@shop.example", "JÖRG@shop.example", "jo\u0308rg@shop.example"},
		{`"a b"@shop.example`, `"A B"@shop.example`, `"a\ b"@shop.example`},
		{`"a,b@c"@shop.example`, `"a\,b@c"@Shop.example`},
		{"x@[192.0.2.1]"},
	} {
		for _, asked := range spellings {
			_, ok := mailsearch.Whole(asked)
			require.True(t, ok, asked)
			for _, has := range spellings {
				for _, text := range []string{has, "<" + has + ">", "Ann <" + has + ">", "x@y.example, " + has + ";", "\"A, nn\" <" + has + ">"} {
					data, err := json.Marshal(map[string]any{"envelope": map[string]any{"to": []string{text}}})
					require.NoError(t, err)
					require.True(t, involves(asked, "", `{"data":`+string(data)+`}`), "%s: %s", asked, text)
				}
			}
		}
	}
	require.True(t, involves("ann@shop.example", "", `{"data":{"from":[{"name":"ann@shop.example","address":"x@y.example"}]}}`), "the name that is shown")
	require.False(t, involves("ann@shop.example", "", `{"data":{"to":"\"x ann@shop.example\"@y.example"}}`), "a part of somebody else's address")
	for _, text := range []string{"", "ann", "@", "a@", "@b", "a@b@c", "a@*", "a@b ", "A <a@b>", "a b@c", `"a@b`, `"a"b@c`, `""@b`, "a,b@c", "a@b,c@d", `"a"@b "c"`} {
		_, ok := mailsearch.Whole(text)
		require.False(t, ok, text)
	}
}

// TestALongTextIsReadOnce has what would be read once for each quotation mark in it.
func TestALongTextIsReadOnce(t *testing.T) {
	t.Parallel()
	for _, part := range []string{`\"`, `"`, "a@", "@", `"a`} {
		data, err := json.Marshal(map[string]string{"to": `"` + strings.Repeat(part, 1<<19/len(part)) + ` ann@shop.example`})
		require.NoError(t, err)
		require.True(t, involves("ann@shop.example", "", `{"data":`+string(data)+`}`), part)
	}
}
