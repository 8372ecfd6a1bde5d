package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAWebhooksLife(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/agents", map[string]any{"address": "Sales@Example.com"}).want(t, 201)
	made := c.do("POST", "/v1/webhooks", map[string]any{
		"url": hookURL, "events": []string{"email.received", "email.sent"}, "description": "CRM",
		"filters": map[string]any{"agent_ids": []string{"SALES@example.com"}, "labels": []string{"vip"}}, "rate_limit": 7,
	}).want(t, 201)
	id, secret := made.text("id"), made.text("signing_secret")
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, secret)

	got := c.do("GET", "/v1/webhooks/"+id, nil).want(t, 200)
	require.NotContains(t, string(got.raw), "whsec_")
	require.NotContains(t, string(got.raw), "secret")
	delete(made.json, "signing_secret")
	require.Equal(t, made.json, got.json)
	require.Equal(t, map[string]any{"agent_ids": []any{"sales@example.com"}, "labels": []any{"vip"}}, got.json["filters"])
	require.Equal(t, hookURL, got.json["url"])
	require.Equal(t, []any{"email.received", "email.sent"}, got.json["events"])
	require.EqualValues(t, 1024, got.json["max_in_flight"])
	require.EqualValues(t, 7, got.json["rate_limit"])
	require.Equal(t, "none", got.json["ordering"])
	require.Equal(t, true, got.json["enabled"])
	created, err := time.Parse(time.RFC3339Nano, got.text("created_at"))
	require.NoError(t, err)
	require.Equal(t, time.UTC, created.Location())
	listed := c.do("GET", "/v1/webhooks", nil).want(t, 200)
	require.Equal(t, []string{id}, listed.ids(t, "id"))
	require.NotContains(t, string(listed.raw), "secret")

	changed := c.do("PATCH", "/v1/webhooks/"+id, map[string]any{"rate_limit": nil, "ordering": "strict", "filters": map[string]any{}}).want(t, 200)
	require.Nil(t, changed.json["rate_limit"])
	require.Equal(t, "strict", changed.json["ordering"])
	require.Empty(t, changed.json["filters"])
	changed = c.do("PATCH", "/v1/webhooks/"+id, map[string]any{"filters": map[string]any{"agent_emails": []string{"SALES@example.com"}}}).want(t, 200)
	require.Equal(t, map[string]any{"agent_ids": []any{"sales@example.com"}}, changed.json["filters"], "another name of agent_ids")
	require.Equal(t, "CRM", changed.json["description"], "absent fields stay")
	changed = c.do("PATCH", "/v1/webhooks/"+id, map[string]any{"filters": map[string]any{"data": json.RawMessage(`{"to.address":{"prefix":"a"},"n":{"lte":9007199254740993,"gt":1.0}}`)}}).want(t, 200)
	require.Contains(t, string(changed.raw), `"filters":{"data":{"n":{"gt":1.0,"lte":9007199254740993},"to.address":{"prefix":"a"}}}`, "in its normal form, and not rounded")
	require.Equal(t, changed.json["filters"], c.do("GET", "/v1/webhooks/"+id, nil).want(t, 200).json["filters"])
	require.NotContains(t, string(changed.raw), "secret")
	var strict bool
	require.NoError(t, w.pool.QueryRow(context.Background(), `SELECT EXISTS (SELECT 1 FROM fanmail.strict_tenants)`).Scan(&strict))
	require.True(t, strict)

	rotated := c.do("POST", "/v1/webhooks/"+id+"/rotate-secret", nil).want(t, 200)
	require.Regexp(t, `^whsec_`, rotated.text("signing_secret"))
	require.NotEqual(t, secret, rotated.text("signing_secret"))
	var now, until time.Time
	var present, prev string
	require.NoError(t, w.pool.QueryRow(context.Background(), `SELECT now(), signing_secret, previous_secrets[1], previous_until[1] FROM fanmail.webhooks`).Scan(&now, &present, &prev, &until))
	require.Equal(t, present, rotated.text("signing_secret"))
	require.Equal(t, secret, prev)
	require.True(t, until.After(now.Add(23*time.Hour)) && until.Before(now.Add(25*time.Hour)))
	said, err := time.Parse(time.RFC3339Nano, rotated.text("previous_secret_expires_at"))
	require.NoError(t, err)
	require.True(t, said.Equal(until))

	c.do("DELETE", "/v1/webhooks/"+id, nil).want(t, 204)
	c.do("GET", "/v1/webhooks/"+id, nil).want(t, 404)
	c.do("PATCH", "/v1/webhooks/"+id, map[string]any{"enabled": true}).want(t, 404)
	c.do("POST", "/v1/webhooks/"+id+"/test", nil).want(t, 404)
	c.do("DELETE", "/v1/webhooks/"+id, nil).want(t, 404)
	require.Empty(t, c.do("GET", "/v1/webhooks", nil).ids(t, "id"))
}

func TestNullSetsASettingBack(t *testing.T) {
	t.Parallel()
	c := start(t).tenant()
	id := c.do("POST", "/v1/webhooks", map[string]any{
		"url": hookURL, "events": []string{"email.sent"}, "filters": map[string]any{"labels": []string{"vip"}},
		"description": "CRM", "max_in_flight": 3, "rate_limit": 7, "ordering": "strict", "paused": true,
	}).want(t, 201).text("id")
	for name, normal := range map[string]any{
		"filters": map[string]any{}, "description": "", "max_in_flight": 1024.0, "rate_limit": nil, "ordering": "none", "paused": false,
	} {
		before := c.do("GET", "/v1/webhooks/"+id, nil).want(t, 200)
		require.NotEqual(t, normal, before.json[name], name)
		after := c.do("PATCH", "/v1/webhooks/"+id, map[string]any{name: nil}).want(t, 200)
		require.Equal(t, normal, after.json[name], name)
	}
}

func TestBadSettingsAreRefusedByName(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	existing := c.webhook()
	unknown := c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.eaten"}}).want(t, 422)
	for _, known := range events.Catalogue() {
		require.Contains(t, unknown.text("detail"), string(known))
	}
	tooMany := make([]string, 51)
	for i := range tooMany {
		tooMany[i] = fmt.Sprint(i)
	}
	for place, settings := range map[string]map[string]any{
		"body.url":                      {"url": "not a URL"},
		"body.events[0]":                {"events": []string{"email.eaten"}},
		"body.events":                   {"events": []string{}},
		"body.description":              {"description": "a\nb"},
		"body.max_in_flight":            {"max_in_flight": 4097},
		"body.rate_limit":               {"rate_limit": 0},
		"body.ordering":                 {"ordering": "fifo"},
		"body.filters.agent_ids":        {"filters": map[string]any{"agent_ids": []string{"nobody@example.com"}}},
		"body.filters.labels":           {"filters": map[string]any{"labels": []string{""}}},
		"body.filters.conversation_ids": {"filters": map[string]any{"conversation_ids": tooMany}},
		"body.filters.data":             {"filters": map[string]any{"data": "amount"}},
		`body.filters.data["a"].like`:   {"filters": map[string]any{"data": map[string]any{"a": map[string]any{"like": "x"}}}},
		`body.filters.data["a..b"]`:     {"filters": map[string]any{"data": map[string]any{"a..b": 1}}},
		"body.filters.colour":           {"filters": map[string]any{"colour": []string{"red"}}},
		"body.signing_secret":           {"signing_secret": "mine"},
		"body.URL":                      {"URL": hookURL},
		"body.enabled":                  {"enabled": "yes"},
	} {
		full := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
		for k, v := range settings {
			full[k] = v
		}
		c.do("POST", "/v1/webhooks", full).want(t, 422).names(t, place)
		c.do("PATCH", "/v1/webhooks/"+existing, settings).want(t, 422).names(t, place)
	}
	c.do("POST", "/v1/webhooks", map[string]any{"events": []string{"email.sent"}}).want(t, 422).names(t, "body.url")
	c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL}).want(t, 422).names(t, "body.events")
	c.do("POST", "/v1/webhooks", map[string]any{"url": "http://hooks.example.com/", "events": []string{"email.sent"}}).want(t, 422).names(t, "body.url")
	c.do("POST", "/v1/webhooks", map[string]any{"url": "https://169.254.169.254/", "events": []string{"email.sent"}}).want(t, 422).names(t, "body.url")
	for _, name := range []string{"url", "events", "enabled"} {
		c.do("PATCH", "/v1/webhooks/"+existing, map[string]any{name: nil}).want(t, 422).names(t, "body."+name)
	}
	c.do("POST", "/v1/webhooks", `{"url":`).want(t, 400).names(t, "body")
	c.do("POST", "/v1/webhooks", `{} {}`).want(t, 400)
	c.do("POST", "/v1/webhooks", `[]`).want(t, 422).names(t, "body")
	c.do("POST", "/v1/webhooks", nil).want(t, 400)
	c.do("POST", "/v1/webhooks", `url=x`, "Content-Type", "application/x-www-form-urlencoded").want(t, 415)
	c.do("POST", "/v1/webhooks/"+existing+"/test", `{"now":true}`).want(t, 422).names(t, "body.now")
	c.do("GET", "/v1/webhooks/wh_zz", nil).want(t, 422).names(t, "path.id")
	c.do("GET", "/v1/webhooks/"+c.tenantID, nil).want(t, 422).names(t, "path.id")
	require.Equal(t, []string{existing}, c.do("GET", "/v1/webhooks", nil).ids(t, "id"))
}

func TestWhatOlderLimitsAcceptedCanStillBeDisabled(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	_, err := w.pool.Exec(context.Background(), `UPDATE fanmail.webhooks SET url = 'http://10.0.0.1/'`)
	require.NoError(t, err)
	require.Equal(t, false, c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": false}).want(t, 200).json["enabled"])
}

func TestTheCapOfWebhooksIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const creates = 20
	w := start(t, func(o *api.Options) {
		o.Pool = pgtest.Open(t, pgtest.URL(t, "pool_max_conns=30"))
		o.Limits = subscribers.Limits{WebhooksPerTenant: 5}
	})
	c, other := w.tenant(), w.tenant()
	// All requests wait for the lock on the tenant's row, then continue at the
	// same time.
	tx, err := w.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT 1 FROM fanmail.tenants FOR UPDATE`)
	require.NoError(t, err)
	var wg sync.WaitGroup
	statuses := make([]int, creates)
	for i := range statuses {
		wg.Go(func() {
			statuses[i] = c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.sent"}},
				"Idempotency-Key", fmt.Sprint(i)).status
		})
	}
	waiting(t, w, creates)
	require.NoError(t, tx.Rollback(ctx))
	wg.Wait()
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	require.Equal(t, map[int]int{201: 5, 409: 15}, count)
	list := c.do("GET", "/v1/webhooks", nil).ids(t, "id")
	require.Len(t, list, 5)
	require.Contains(t, c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.sent"}}).want(t, 409).text("detail"), "5 webhooks")
	other.webhook()
	c.do("DELETE", "/v1/webhooks/"+list[0], nil).want(t, 204)
	c.webhook()
}

func TestAnAutomaticallyDisabledWebhookCoolsDownBeforeItIsEnabled(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	disable := func(ago string) {
		_, err := w.pool.Exec(ctx, `UPDATE fanmail.webhooks SET enabled = false, auto_disabled_at = now() - $1::interval, disabled_reason = 'failing',
			enabled_at = now() - interval '1 day'`, ago)
		require.NoError(t, err)
	}
	disable("4 minutes 50 seconds")
	require.Equal(t, "failing", c.do("GET", "/v1/webhooks/"+hook, nil).text("disabled_reason"))
	require.Contains(t, c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": true}).want(t, 409).text("detail"), "5m")
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"url": "https://hooks.example.com/mended"}).want(t, 200)
	disable("5 minutes 1 second")
	enabled := c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": true}).want(t, 200)
	require.Nil(t, enabled.json["auto_disabled_at"])
	require.Nil(t, enabled.json["disabled_reason"])
	var counted bool
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT enabled_at > now() - interval '1 minute' FROM fanmail.webhooks`).Scan(&counted))
	require.True(t, counted, "failures are counted from here")

	// A webhook that a client disabled can be enabled at once.
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": false}).want(t, 200)
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": true}).want(t, 200)
}

func TestChangesGiveHintsAfterTheirCommit(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	c := w.tenant()
	hints := make(chan *nats.Msg, 64)
	sub, err := nc.ChanSubscribe("fanmail.wake.>", hints)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	require.NoError(t, nc.Flush())
	next := func() *nats.Msg {
		t.Helper()
		select {
		case m := <-hints:
			return m
		case <-time.After(10 * time.Second):
			require.Fail(t, "no hint arrived")
			return nil
		}
	}
	hook := c.webhook()
	require.Equal(t, events.WakeWebhooks, next().Subject)
	lane := fmt.Sprintf("%s%d", events.WakeLanePrefix, events.Partition(id[events.WebhookKind](t, hook)))
	isLane := func(m *nats.Msg) {
		t.Helper()
		require.Equal(t, lane, m.Subject)
		require.Equal(t, hook, string(m.Data))
	}
	test := c.do("POST", "/v1/webhooks/"+hook+"/test", nil, "Idempotency-Key", "once").want(t, 202)
	isLane(next())
	c.do("POST", "/v1/deliveries/"+test.text("id")+"/retry", nil).want(t, 200)
	isLane(next())
	c.do("POST", "/v1/events/"+test.text("event_id")+"/redeliver", map[string]any{"webhook_id": hook}).want(t, 202)
	isLane(next())
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": true}).want(t, 200)
	require.Equal(t, events.WakeWebhooks, next().Subject)
	isLane(next())
	c.event()
	require.Equal(t, events.WakeOutbox, next().Subject)
	// A failed request and a stored response give no hint.
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil, "Idempotency-Key", "once").want(t, 202)
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"url": "x"}).want(t, 422)
	c.do("DELETE", "/v1/webhooks/"+hook, nil).want(t, 204)
	require.Equal(t, events.WakeWebhooks, next().Subject)
	require.NoError(t, nc.Flush())
	require.Empty(t, hints)
}

func TestABodyOverTheLimitIsRefusedAndTheLimitNamed(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.MaxBodyBytes = 1000 })
	c := w.tenant()
	big := map[string]any{"url": hookURL, "events": []string{"email.sent"}, "description": strings.Repeat("x", 1000)}
	require.Contains(t, c.do("POST", "/v1/webhooks", big).want(t, 413).text("detail"), "1000 bytes")
	require.Contains(t, c.do("POST", "/v1/webhooks", big, "Idempotency-Key", "k").want(t, 413).text("detail"), "1000 bytes")
}

func TestAWebhookIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	hook := c.webhook()
	path := "/v1/webhooks/" + hook
	other.do("PATCH", path, map[string]any{"paused": true}).want(t, 404)
	paused := c.do("PATCH", path, map[string]any{"paused": true}).want(t, 200)
	require.Equal(t, true, paused.json["paused"])
	require.Equal(t, true, paused.json["enabled"])
	require.NotEmpty(t, paused.json["paused_at"])
	require.Contains(t, c.do("POST", path+"/test", nil).want(t, 409).text("detail"), "paused")
	c.do("PATCH", path, map[string]any{"description": "x"}).want(t, 200)
	require.Equal(t, true, c.do("GET", path, nil).want(t, 200).json["paused"], "other changes leave it")
	require.Equal(t, false, c.do("PATCH", path, map[string]any{"paused": nil}).want(t, 200).json["paused"])
	c.do("POST", path+"/test", nil).want(t, 202)
	c.do("PATCH", path, map[string]any{"paused": "yes"}).want(t, 422).names(t, "body.paused")
	born := c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.received"}, "paused": true}).want(t, 201)
	require.Equal(t, true, born.json["paused"])
}

func TestEnablingAWebhookSaysWhatItMissedAndHowToReplayIt(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	path := "/v1/webhooks/" + hook
	disabled := c.do("PATCH", path, map[string]any{"enabled": false}).want(t, 200)
	require.NotEmpty(t, disabled.json["disabled_at"])
	require.NotContains(t, c.do("PATCH", path, map[string]any{"enabled": true}).want(t, 200).json, "missed", "nothing has come")
	c.do("PATCH", path, map[string]any{"enabled": false}).want(t, 200)
	for range 3 {
		c.event()
	}
	_, err := w.pool.Exec(ctx, `DELETE FROM fanmail.outbox`) // as the fan-out does
	require.NoError(t, err)
	enabled := c.do("PATCH", path, map[string]any{"enabled": true}).want(t, 200)
	require.Nil(t, enabled.json["disabled_at"])
	missed := enabled.json["missed"].(map[string]any)
	require.EqualValues(t, 3, missed["deliveries"])
	require.Equal(t, true, missed["complete"])
	made := c.do("POST", "/v1/replays", missed["replay"]).want(t, 202)
	require.Equal(t, hook, made.json["webhook_id"])
	require.NotContains(t, c.do("PATCH", path, map[string]any{"enabled": true}).want(t, 200).json, "missed", "it was enabled already")
}
