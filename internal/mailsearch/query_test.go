package mailsearch_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

func TestASearchIsRecognized(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0a", 16)
	for search, want := range map[string]struct {
		kind mailsearch.Kind
		text string
	}{
		"evt_" + id:                      {mailsearch.Event, "evt_" + id},
		" EVT_" + strings.ToUpper(id):    {mailsearch.Event, "evt_" + id},
		"whd_" + id:                      {mailsearch.Delivery, "whd_" + id},
		"msg_" + id:                      {mailsearch.Message, "msg_" + id},
		"wh_" + id:                       {mailsearch.Webhook, "wh_" + id},
		"rpl_" + id:                      {mailsearch.Replay, "rpl_" + id},
		"evt_" + id[1:]:                  {mailsearch.Text, "evt_" + id[1:]},
		"<a@b.example>":                  {mailsearch.Header, "a@b.example"},
		"<a b@c.example> ":               {mailsearch.Header, "a b@c.example"},
		"ann@shop.example":               {mailsearch.Address, "ann@shop.example"},
		"@shop.example":                  {mailsearch.Domain, "@shop.example"},
		"https://shop.example/hook?a=@b": {mailsearch.URL, "https://shop.example/hook?a=@b"},
		"http://127.0.0.1:1/":            {mailsearch.URL, "http://127.0.0.1:1/"},
		"Order 42":                       {mailsearch.Text, "Order 42"},
		"mail ann@shop.example":          {mailsearch.Text, "mail ann@shop.example"},
		"":                               {mailsearch.Text, ""},
	} {
		kind, text := mailsearch.Recognize(search)
		require.Equal(t, want.kind, kind, search)
		require.Equal(t, want.text, text, search)
	}
}
