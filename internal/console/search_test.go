package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/outbox"
)

func TestASearchGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	w := start(t)
	old, _ := w.mail(map[string]any{"subject": "The needle", "from": "ann@shop.example", "to": "team@corp.example"}, "x")
	const pages = 8
	_, err := w.pool.Exec(t.Context(), `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT gen_random_uuid(), created_at + i * interval '1 us', tenant_id, type, -i, convert_to('{"data":{"subject":"hay","from":"bob@hay.example","to":"x@hay.example"}}', 'UTF8')
		FROM fanmail.events, generate_series(1, $1::int) AS i`, pages*outbox.SearchScan)
	require.NoError(t, err)
	b := w.signedIn(w.tenantKey)
	for _, q := range []string{"needle", "ann@shop.example", "@corp.example"} {
		page := b.get("/search?q=" + url.QueryEscape(q))
		for seen := 0; page.status == http.StatusOK && !strings.Contains(page.text, old); seen++ {
			require.Less(t, seen, pages, q)
			next := ""
			for _, a := range page.all("a") {
				if href := attribute(a, "href"); strings.Contains(href, "cursor=") && !strings.Contains(href, "?to=ann") && !strings.Contains(href, "?from=%40corp") {
					next = href
				}
			}
			require.NotEmpty(t, next, "%s: there is more", q)
			page = b.get(strings.TrimPrefix(next, console.Base))
		}
		if page.status == http.StatusSeeOther {
			require.Equal(t, console.Base+"/events/"+old, page.header.Get("Location"))
			continue
		}
		require.Contains(t, page.text, old, q)
	}
}

// TestTheBeginningOfAnIdFindsAWebhookOrSaysWhatIsMissing: lists cut ids, and people copy what they see.
func TestTheBeginningOfAnIdFindsAWebhookOrSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com/in")
	event, message := w.mail(map[string]any{"subject": "x"}, "x")
	b := w.signedIn(w.tenantKey)
	for _, part := range []string{hook[:11] + "…", hook[:20], strings.ToUpper(hook[:9]) + "..."} {
		require.Equal(t, console.Base+"/webhooks/"+hook, b.get("/search?q="+url.QueryEscape(part)).want(http.StatusSeeOther).header.Get("Location"), part)
	}
	for _, part := range []string{event[:12] + "…", message[:20], "whd_0123456789abcdef", "rpl_0123", "wh_00000000"} {
		require.Contains(t, words(b.get("/search?q="+url.QueryEscape(part)).want(http.StatusOK).find("div.empty")), "is the beginning of an id. Search by the whole id", part)
	}
}
