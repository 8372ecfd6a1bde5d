package api_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/schema"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestAnEventIsCommittedToTheOutboxBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}).want(t, 201)
	evID := c.do("POST", "/v1/events", `{"type":"email.received","agent_id":"A@Example.com","conversation_id":"c1","labels":["vip"],
		"message_id":"m1","data":{"big":12345678901234567890,"html":"<b>&</b>"},"idempotency_key":"once"}`).want(t, 202).text("id")
	var queued int
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.outbox WHERE event_id = $1`, id[events.EventKind](t, evID)).Scan(&queued))
	require.Equal(t, 1, queued)
	require.Equal(t, evID, c.do("POST", "/v1/events", `{"type":"email.received","data":{},"idempotency_key":"once"}`).want(t, 202).text("id"))

	got := c.do("GET", "/v1/events/"+evID, nil).want(t, 200)
	require.Equal(t, "a@example.com", got.text("agent_id"))
	require.Equal(t, "c1", got.text("conversation_id"))
	require.Equal(t, "m1", got.text("message_id"))
	require.Equal(t, []any{"vip"}, got.json["labels"])
	require.Equal(t, []any{}, got.json["deliveries"])
	var envelope []byte
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT envelope FROM fanmail.events WHERE id = $1`, id[events.EventKind](t, evID)).Scan(&envelope))
	require.Contains(t, string(got.raw), string(envelope), "byte for byte")

	other := c.event()
	require.Equal(t, []string{other, evID}, c.do("GET", "/v1/events", nil).ids(t, "id"))
	require.Equal(t, []string{evID}, c.do("GET", "/v1/events?agent_id=A@example.com&type=email.received", nil).ids(t, "id"))
	at := url.QueryEscape(got.text("created_at"))
	require.Equal(t, []string{other, evID}, c.do("GET", "/v1/events?since="+at, nil).ids(t, "id"))
	require.Empty(t, c.do("GET", "/v1/events?until="+at, nil).ids(t, "id"))
	require.Empty(t, c.do("GET", "/v1/events?type=email.sent", nil).ids(t, "id"))
	c.do("GET", "/v1/events/"+events.NewID().String(), nil).want(t, 404)
}

func TestBadEventsAreRefusedByName(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for place, change := range map[string]map[string]any{
		"body.type":            {"type": "email.eaten"},
		"body.agent_id":        {"agent_id": "nobody@example.com"},
		"body.data":            {"data": []int{1}},
		"body.labels":          {"labels": []string{""}},
		"body.conversation_id": {"conversation_id": "a\x00b"},
		"body.idempotency_key": {"idempotency_key": strings.Repeat("k", 999)},
		"body.tenant_id":       {"tenant_id": c.tenantID},
	} {
		full := map[string]any{"type": "email.sent", "data": map[string]any{}}
		for k, v := range change {
			full[k] = v
		}
		c.do("POST", "/v1/events", full).want(t, 422).names(t, place)
	}
	c.do("POST", "/v1/events", map[string]any{"type": "email.sent"}).want(t, 422).names(t, "body.data")
	c.do("POST", "/v1/events", map[string]any{"type": "email.sent", "data": nil}).want(t, 422).names(t, "body.data")
	big := map[string]any{"type": "email.sent", "data": map[string]any{"text": strings.Repeat("x", events.MaxEnvelopeBytes)}}
	a := c.do("POST", "/v1/events", big).want(t, 422)
	a.names(t, "body.data")
	require.Contains(t, a.text("detail"), "262144")
	require.Contains(t, c.do("POST", "/v1/events", map[string]any{"type": "email.eaten", "data": map[string]any{}}).text("detail"), "email.received")
	require.Empty(t, c.do("GET", "/v1/events", nil).ids(t, "id"))
}

// deliverLive inserts the delivery that the fan-out would insert for an event.
func deliverLive(ctx context.Context, t *testing.T, w *world, eventID, hook string) string {
	t.Helper()
	ev, wh := id[events.EventKind](t, eventID), id[events.WebhookKind](t, hook)
	var created time.Time
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT created_at FROM fanmail.events WHERE id = $1`, ev).Scan(&created))
	d := events.DeriveDeliveryID(ev, wh, events.ReplayID{}, created)
	_, err := w.pool.Exec(ctx, `INSERT INTO fanmail.webhook_subscriber_deliveries
			(id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT $1, created_at, $2, tenant_id, id, created_at, now(), created_at + interval '30 days', seq, 8, type FROM fanmail.events WHERE id = $3`, d, wh, ev)
	require.NoError(t, err)
	return d.String()
}

func TestAnEventIsRedeliveredToOneOrToAllThatItMatched(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	matched, gone, never := c.webhook(), c.webhook(), c.webhook()
	evID := c.event()
	live := []string{deliverLive(ctx, t, w, evID, matched), deliverLive(ctx, t, w, evID, gone)}
	c.do("DELETE", "/v1/webhooks/"+gone, nil).want(t, 204)

	all := c.do("POST", "/v1/events/"+evID+"/redeliver", nil).want(t, 202)
	list := all.json["deliveries"].([]any)
	require.Len(t, list, 1)
	d := list[0].(map[string]any)
	require.Equal(t, matched, d["webhook_id"])
	require.Equal(t, "replay", d["kind"])
	require.Equal(t, "pending", d["status"])
	require.Equal(t, all.text("replay_id"), d["replay_id"])
	require.EqualValues(t, 8, d["max_attempts"])
	require.NotContains(t, live, d["id"])

	one := c.do("POST", "/v1/events/"+evID+"/redeliver", map[string]any{"webhook_id": never}).want(t, 202)
	require.NotEqual(t, all.text("replay_id"), one.text("replay_id"))
	require.Equal(t, never, one.json["deliveries"].([]any)[0].(map[string]any)["webhook_id"])
	c.do("POST", "/v1/events/"+evID+"/redeliver", map[string]any{"webhook_id": gone}).want(t, 404)
	c.do("POST", "/v1/events/"+events.NewID().String()+"/redeliver", nil).want(t, 404)
	c.do("POST", "/v1/events/"+evID+"/redeliver", map[string]any{"webhook_id": "x"}).want(t, 422).names(t, "body.webhook_id")

	// The same for a redelivered event: each webhook once, however many deliveries it has.
	require.Len(t, c.do("POST", "/v1/events/"+evID+"/redeliver", nil).want(t, 202).json["deliveries"], 2)
	shown := c.do("GET", "/v1/events/"+evID, nil).want(t, 200)
	require.Len(t, shown.json["deliveries"], 6)
	require.Equal(t, false, shown.json["deliveries_truncated"])

	// The envelope is the event's; a delivery only refers to it.
	got := c.do("GET", "/v1/deliveries/"+d["id"].(string), nil).want(t, 200)
	require.Equal(t, shown.json["envelope"], got.json["envelope"])
	require.NotNil(t, got.json["envelope"])
}

func TestADeliverysDetailsAndItsRetry(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	dID := deliverLive(ctx, t, w, c.event(), hook)
	set := func(sql string) {
		t.Helper()
		_, err := w.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET `+sql)
		require.NoError(t, err)
	}
	set(`leased = true, next_retry_at = now() + interval '1 minute'`)
	require.Contains(t, c.do("POST", "/v1/deliveries/"+dID+"/retry", nil).want(t, 409).text("detail"), "in flight or about to start")
	set(`status = 'failed', leased = false, attempts = 8, finished_at = now(), next_retry_at = NULL, last_error = 'status 500', last_status_code = 500, last_attempt_at = now()`)
	_, err := w.pool.Exec(ctx, `INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason, error, response)
		SELECT id, created_at, n, created_at + n * interval '1 minute', 12, 500, 'status', 'status 500', '<oops>' FROM fanmail.webhook_subscriber_deliveries, generate_series(1, 8) AS n`)
	require.NoError(t, err)
	got := c.do("GET", "/v1/deliveries/"+dID, nil).want(t, 200)
	log := got.json["attempt_log"].([]any)
	require.Len(t, log, 8)
	first := log[0].(map[string]any)
	require.EqualValues(t, 1, first["attempt"])
	require.EqualValues(t, 12, first["duration_ms"])
	require.Equal(t, "<oops>", first["response"])
	require.Equal(t, "failed", got.text("status"))
	require.EqualValues(t, 500, got.json["last_status_code"])
	ofEvent := func(query string) map[string]any {
		list := c.do("GET", "/v1/events/"+got.text("event_id")+query, nil).want(t, 200).json["deliveries"].([]any)
		require.Len(t, list, 1)
		return list[0].(map[string]any)
	}
	require.Equal(t, log, ofEvent("?attempts=true")["attempt_log"], "an event has the attempts of its deliveries")
	require.NotContains(t, ofEvent(""), "attempt_log")

	retried := c.do("POST", "/v1/deliveries/"+dID+"/retry", nil).want(t, 200)
	require.Equal(t, "pending", retried.text("status"))
	require.EqualValues(t, 8, retried.json["attempts"])
	require.EqualValues(t, 16, retried.json["max_attempts"], "eight more")
	require.Nil(t, retried.json["finished_at"])
	require.NotNil(t, retried.json["next_retry_at"])
	require.Len(t, c.do("GET", "/v1/deliveries/"+dID, nil).json["attempt_log"], 8, "the log stays")
	// A pending delivery only becomes due.
	set(`next_retry_at = now() + interval '1 hour'`)
	require.EqualValues(t, 16, c.do("POST", "/v1/deliveries/"+dID+"/retry", nil).want(t, 200).json["max_attempts"])
	var due bool
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT next_retry_at <= now() FROM fanmail.webhook_subscriber_deliveries`).Scan(&due))
	require.True(t, due)

	set(`status = 'delivered', attempts = 1, finished_at = now(), next_retry_at = NULL, last_status_code = 204, last_error = NULL`)
	require.Contains(t, c.do("POST", "/v1/deliveries/"+dID+"/retry", nil).want(t, 409).text("detail"), "delivered")
	_, err = w.pool.Exec(ctx, `DELETE FROM fanmail.webhook_delivery_attempts`)
	require.NoError(t, err)
	log = c.do("GET", "/v1/deliveries/"+dID, nil).want(t, 200).json["attempt_log"].([]any)
	require.Len(t, log, 1, "a success at the first attempt has no row of its own")
	require.EqualValues(t, 204, log[0].(map[string]any)["status_code"])
	require.Equal(t, log, ofEvent("?attempts=true")["attempt_log"])

	set(`status = 'failed', expires_at = now()`)
	require.Contains(t, c.do("POST", "/v1/deliveries/"+dID+"/retry", nil).want(t, 409).text("detail"), "expired")
	set(`expires_at = now() + interval '1 day'`)
	c.do("DELETE", "/v1/webhooks/"+hook, nil).want(t, 204)
	require.Contains(t, c.do("POST", "/v1/deliveries/"+dID+"/retry", nil).want(t, 409).text("detail"), "deleted")
	c.do("GET", "/v1/deliveries/"+dID, nil).want(t, 200)
	c.do("GET", "/v1/deliveries/"+events.DeliveryID{0xff, 0xff, 0xff}.String(), nil).want(t, 404)
}

func TestATestDeliveryHasASampleOrDataOfOnesOwn(t *testing.T) {
	t.Parallel()
	c := start(t).tenant()
	hook := c.webhook("events", []string{"email.bounced", "email.received"})
	path := "/v1/webhooks/" + hook + "/test"
	sent := func(body map[string]any) (typ, data string) {
		d := c.do("POST", path, body).want(t, 202)
		got := c.do("GET", "/v1/deliveries/"+d.text("id"), nil).want(t, 200)
		enc, err := json.Marshal(got.json["envelope"].(map[string]any)["data"])
		require.NoError(t, err)
		return d.text("event_type"), string(enc)
	}
	typ, data := sent(map[string]any{"type": "email.received"})
	require.Equal(t, "email.received", typ)
	require.NoError(t, schema.ValidateData(typ, json.RawMessage(data)))
	require.Contains(t, data, `"test":true`)
	typ, data = sent(map[string]any{"data": map[string]any{"n": 1}})
	require.Equal(t, "email.bounced", typ)
	require.JSONEq(t, `{"n":1}`, data)
	for _, bad := range []map[string]any{
		{"type": "email.sent"},
		{"type": "no.such"},
		{"type": "email.received", "data": 1},
		{"data": []int{1}},
		{"kind": "x"},
		{"data": map[string]any{"x": strings.Repeat("x", 300<<10)}},
	} {
		c.do("POST", path, bad).want(t, 422)
	}
	every := c.webhook("events", []string{"*"})
	c.do("POST", "/v1/webhooks/"+every+"/test", map[string]any{"type": "email.sent"}).want(t, 202)
	c.do("POST", "/v1/webhooks/"+every+"/test", map[string]any{"type": "webhook.disabled"}).want(t, 422)
	require.Contains(t, string(c.do("POST", path, map[string]any{"type": "email.sent"}).want(t, 422).raw), "email.bounced")
}

func TestATestDeliveryGoesToItsWebhookAlone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}).want(t, 201)
	hook := c.webhook("events", []string{"email.bounced", "email.sent"}, "filters", map[string]any{"agent_ids": []string{"a@example.com"}})
	c.webhook("events", []string{"email.bounced"})
	d := c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)
	require.Equal(t, "test", d.text("kind"))
	require.Equal(t, "email.bounced", d.text("event_type"))
	got := c.do("GET", "/v1/deliveries/"+d.text("id"), nil).want(t, 200)
	enc, err := json.Marshal(got.json["envelope"])
	require.NoError(t, err)
	env, err := events.DecodeEnvelope(enc)
	require.NoError(t, err)
	require.Equal(t, d.text("event_id"), env.ID.String())
	require.Contains(t, string(env.Data), `"test":true`)
	var queued int
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.outbox`).Scan(&queued))
	require.Zero(t, queued, "no outbox row")
	var made int
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries`).Scan(&made))
	require.Equal(t, 1, made, "for one webhook only")
	var consistent, due bool
	var created, evCreated time.Time
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT expires_at = created_at + interval '30 days', next_retry_at <= now(), created_at, event_created_at
		FROM fanmail.webhook_subscriber_deliveries`).Scan(&consistent, &due, &created, &evCreated))
	require.True(t, consistent)
	require.True(t, due)
	require.True(t, created.Equal(evCreated))
	require.True(t, created.Equal(env.CreatedAt))
	require.Equal(t, created.UnixMilli(), events.CreatedAt(id[events.DeliveryKind](t, d.text("id"))).UnixMilli())
	require.Equal(t, []string{d.text("id")}, c.do("GET", "/v1/webhooks/"+hook+"/deliveries?status=pending&event_type=email.bounced", nil).ids(t, "id"))
	require.Empty(t, c.do("GET", "/v1/webhooks/"+hook+"/deliveries?status=failed", nil).ids(t, "id"))

	// An imported delivery has an id that says nothing about its time.
	imported := "whd_ffffffffffffffffffffffffffffffff"
	_, err = w.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET id = $1, status = 'failed', next_retry_at = NULL, finished_at = now()`,
		id[events.DeliveryKind](t, imported))
	require.NoError(t, err)
	require.Equal(t, imported, c.do("GET", "/v1/deliveries/"+imported, nil).want(t, 200).text("id"))
	require.Equal(t, "pending", c.do("POST", "/v1/deliveries/"+imported+"/retry", nil).want(t, 200).text("status"))
	w.tenant().do("GET", "/v1/deliveries/"+imported, nil).want(t, 404)

	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"enabled": false}).want(t, 200)
	require.Contains(t, c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 409).text("detail"), subscribers.ErrDisabled.Error())
}

func TestMessagesAreReadParsedAndRaw(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	evID := c.do("POST", "/v1/events", `{"type":"email.received","data":{"subject":"Grüße","n":12345678901234567890}}`).want(t, 202).text("id")
	// More than three chunks, with every value of a byte.
	raw := make([]byte, 3*256<<10+17)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	msg := insertMessage(ctx, t, w, c, evID, raw)
	got := c.do("GET", "/v1/messages/"+msg, nil).want(t, 200)
	require.Equal(t, evID, got.text("event_id"))
	require.EqualValues(t, len(raw), got.json["size"])
	require.Contains(t, string(got.raw), `{"subject":"Grüße","n":12345678901234567890}`)
	rawGot := c.do("GET", got.text("raw_url"), nil).want(t, 200)
	require.Equal(t, "message/rfc822", rawGot.header.Get("Content-Type"))
	require.Equal(t, "sandbox", rawGot.header.Get("Content-Security-Policy"))
	require.Equal(t, raw, rawGot.raw)
	c.do("GET", "/v1/messages/"+events.NewRandom[events.MessageKind]().String()+"/raw", nil).want(t, 404)

	empty := insertMessage(ctx, t, w, c, evID, []byte{})
	require.Empty(t, c.do("GET", "/v1/messages/"+empty+"/raw", nil).want(t, 200).raw)
	for _, envelope := range []string{`no JSON`, `{"event": "email.received", "data": {}}`} {
		_, err := w.pool.Exec(ctx, `UPDATE fanmail.events SET envelope = $1`, []byte(envelope))
		require.NoError(t, err)
		got = c.do("GET", "/v1/messages/"+msg, nil).want(t, 200)
		require.EqualValues(t, len(raw), got.json["size"], "what is known is there")
		require.Nil(t, got.json["message"])
	}
	_, err := w.pool.Exec(ctx, `DELETE FROM fanmail.message_raws`)
	require.NoError(t, err)
	c.do("GET", "/v1/messages/"+msg+"/raw", nil).want(t, 404)
}

// The intake subject decodes the same body with the same decoder, so that its
// dead letters have the same errors. The document has exactly the fields that
// the decoder reads.
func TestABadEventHasTheSameWordsHereAndOnTheIntakeSubject(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	own := id[events.TenantKind](t, c.tenantID)
	for _, body := range []string{
		`{}`, `[]`, `null`, `{"type":"email.sent","data":{}} {}`, `{"type":"email.sent","data":{}`, `{"type":5,"data":{}}`,
		`{"type":"email.sent"}`, `{"type":"email.sent","data":null}`, `{"type":"email.sent","data":[]}`, `{"type":"email.eaten","data":{}}`,
		`{"type":"webhook.disabled","data":{}}`, `{"Type":"email.sent","data":{}}`, `{"type":"email.sent","data":{},"when":1}`,
		`{"type":"email.sent","data":{},"labels":"x"}`, `{"type":"email.sent","data":{},"labels":[1]}`, `{"type":"email.sent","data":{},"labels":[""]}`,
		`{"type":"email.sent","data":{},"labels":[` + strings.Repeat(`"x",`, 100) + `"x"]}`,
		`{"type":"email.sent","data":{},"agent_id":"` + strings.Repeat("x", 999) + `"}`,
		`{"type":"email.sent","data":{"a":"` + strings.Repeat("x", events.MaxEnvelopeBytes) + `"}}`,
		`{"type":"email.sent","data":{"a":"` + strings.Repeat("x", events.MaxEnvelopeBytes-20) + `"}}`,
	} {
		ev, err := events.DecodeIntake(own, []byte(body))
		if err == nil {
			_, err = outbox.Prepare(ev)
		}
		require.Error(t, err)
		a := c.do("POST", "/v1/events", body)
		require.Contains(t, []int{400, 422}, a.status, "%.60s", body)
		require.Equal(t, err.Error(), strings.Replace(a.text("detail"), "body.", "", 1), "%.60s", body)
	}
	c.do("POST", "/v1/events", `type=x`, "Content-Type", "application/x-www-form-urlencoded").want(t, 415)
	c.do("POST", "/v1/events", `{"type":"email.sent","data":{},"labels":null}`).want(t, 202)

	schemas := c.do("GET", "/openapi.json", nil).want(t, 200).json["components"].(map[string]any)["schemas"].(map[string]any)
	shown := schemas["NewEvent"].(map[string]any)["properties"].(map[string]any)
	full := map[string]any{}
	for name := range shown {
		full[name] = "x"
	}
	full["type"], full["labels"], full["data"] = "email.sent", []string{"x"}, map[string]any{}
	b, err := json.Marshal(full)
	require.NoError(t, err)
	ev, err := events.DecodeIntake(own, b)
	require.NoError(t, err)
	require.Equal(t, events.Event{
		TenantID: own, Type: events.EmailSent, AgentID: "x", ConversationID: "x", Labels: []string{"x"}, MessageID: "x",
		Data: json.RawMessage("{}"), IdempotencyKey: "x",
	}, ev, "the document lacks a field")
}
