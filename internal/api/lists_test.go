package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func with(path, query string) string {
	if strings.Contains(path, "?") {
		return path + "&" + query
	}
	return path + "?" + query
}

// pages reads a list to its end and calls between after each page.
func pages(t *testing.T, c client, path, name string, limit int, between func()) []string {
	t.Helper()
	var all []string
	cursor := ""
	for {
		query := url.Values{"limit": {fmt.Sprint(limit)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		a := c.do("GET", with(path, query.Encode()), nil).want(t, 200)
		got := a.ids(t, name)
		require.LessOrEqual(t, len(got), limit)
		all = append(all, got...)
		require.Contains(t, a.json, "next_cursor")
		cursor = a.text("next_cursor")
		if cursor == "" {
			require.Nil(t, a.json["next_cursor"])
			return all
		}
		require.Len(t, got, limit)
		between()
	}
}

func TestACursorNeitherSkipsNorRepeats(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.Limits = subscribers.Limits{WebhooksPerTenant: 1000} })
	c := w.tenant()
	hook := c.webhook()
	n := 0
	for _, l := range []struct {
		path, name, table string
		add               func() string
	}{
		{"/v1/webhooks", "id", "webhooks", func() string { return c.webhook() }},
		{"/v1/events", "id", "events", c.event},
		{"/v1/events?type=email.received", "id", "events", c.event},
		{"/v1/keys", "id", "api_keys", func() string { return c.do("POST", "/v1/keys", map[string]any{}).want(t, 201).text("id") }},
		{"/v1/webhooks/" + hook + "/deliveries", "id", "webhook_subscriber_deliveries", func() string {
			return c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202).text("id")
		}},
		{"/v1/agents", "address", "agents", func() string {
			n++
			return c.do("POST", "/v1/agents", map[string]any{"address": fmt.Sprintf("a%03d@example.com", n)}).want(t, 201).text("address")
		}},
	} {
		for range 9 {
			l.add()
		}
		// Some pages end between rows with the same time.
		_, err := w.pool.Exec(t.Context(), `UPDATE `+l.table+` SET created_at = date_trunc('minute', created_at)`)
		require.NoError(t, err)
		before := c.do("GET", with(l.path, "limit=100"), nil).want(t, 200).ids(t, l.name)
		got := pages(t, c, l.path, l.name, 3, func() {
			var wg sync.WaitGroup
			for range 2 {
				if l.name == "address" {
					l.add() // its counter is not safe for concurrent use
					continue
				}
				wg.Go(func() { l.add() })
			}
			wg.Wait()
		})
		sorted := slices.Clone(got)
		slices.Sort(sorted)
		require.Len(t, slices.Compact(sorted), len(got), "%s repeats", l.path)
		for _, id := range before {
			require.Contains(t, got, id, "%s skips", l.path)
		}
		if l.name == "id" {
			require.Equal(t, before, got, "newest first, without the rows that were added later")
		}
	}
}

func TestBadPagingIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for _, list := range []string{"/v1/webhooks", "/v1/agents", "/v1/events", "/v1/keys"} {
		for query, place := range map[string]string{
			"limit=0": "query.limit", "limit=101": "query.limit", "limit=x": "query.limit",
			"cursor=!!": "query.cursor", "page=2": "query.page",
		} {
			c.do("GET", list+"?"+query, nil).want(t, 422).names(t, place)
		}
		if list != "/v1/agents" {
			c.do("GET", list+"?cursor=AAAA", nil).want(t, 422).names(t, "query.cursor")
			c.do("GET", list+"?cursor=__________________________________________", nil).want(t, 422).names(t, "query.cursor")
		}
	}
	c.do("GET", "/v1/events?since=yesterday", nil).want(t, 422).names(t, "query.since")
	c.do("GET", "/v1/events?type=x", nil).want(t, 422).names(t, "query.type")
	c.do("GET", "/v1/events?agent_id=%00", nil).want(t, 422).names(t, "query.agent_id")
	c.do("GET", "/v1/webhooks/"+c.webhook()+"/deliveries?status=lost", nil).want(t, 422).names(t, "query.status")
}
