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
		"evt_" + id[1:]:                  {mailsearch.Part, "evt_" + id[1:]},
		"WH_0A0A…":                       {mailsearch.Part, "wh_0a0a"},
		"whd_0a0a0a0a...":                {mailsearch.Part, "whd_0a0a0a0a"},
		"evt_0a0":                        {mailsearch.Text, "evt_0a0"},
		"evt_" + id + "0":                {mailsearch.Text, "evt_" + id + "0"},
		"msg_from_ann":                   {mailsearch.Text, "msg_from_ann"},
		"<a@b.example>":                  {mailsearch.Header, "a@b.example"},
		"<a b@c.example> ":               {mailsearch.Header, "a b@c.example"},
		"ann@shop.example":               {mailsearch.Address, "ann@shop.example"},
		"@shop.example":                  {mailsearch.Domain, "@shop.example"},
		"https://shop.example/hook?a=@b": {mailsearch.URL, "https://shop.example/hook?a=@b"},
		"http://127.0.0.1:1/":            {mailsearch.URL, "http://127.0.0.1:1/"},
		"hooks.example.com:8443":         {mailsearch.URL, "hooks.example.com:8443"},
		"localhost:9000/hook":            {mailsearch.URL, "localhost:9000/hook"},
		"[::1]:9000":                     {mailsearch.URL, "[::1]:9000"},
		"at 10:30":                       {mailsearch.Text, "at 10:30"},
		"10:30":                          {mailsearch.Text, "10:30"},
		"example.com:http":               {mailsearch.Text, "example.com:http"},
		"Order 42":                       {mailsearch.Text, "Order 42"},
		"mail ann@shop.example":          {mailsearch.Text, "mail ann@shop.example"},
		"":                               {mailsearch.Text, ""},
	} {
		kind, text := mailsearch.Recognize(search)
		require.Equal(t, want.kind, kind, search)
		require.Equal(t, want.text, text, search)
	}
}
