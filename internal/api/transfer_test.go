package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/outbox"
)

// exported is an export, by lines.
type exported struct {
	text  []byte
	lines []exportedLine
}

type exportedLine struct {
	Kind string         `json:"kind"`
	Data map[string]any `json:"data"`
	text string
}

func parseExport(t *testing.T, text []byte) exported {
	t.Helper()
	e := exported{text: text}
	for line := range strings.Lines(string(text)) {
		var l exportedLine
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		l.text = strings.TrimSuffix(line, "\n")
		e.lines = append(e.lines, l)
	}
	return e
}

func (c client) export(query string) exported {
	c.w.t.Helper()
	a := c.do("GET", "/v1/export"+query, nil).want(c.w.t, 200)
	require.Equal(c.w.t, "application/jsonl", a.header.Get("Content-Type"))
	return parseExport(c.w.t, a.raw)
}

func (e exported) of(kind string) (out []exportedLine) {
	for _, l := range e.lines {
		if l.Kind == kind {
			out = append(out, l)
		}
	}
	return out
}

// with returns the export with another text in a line. The counts stay.
func (e exported) with(line int, text string) []byte {
	var b bytes.Buffer
	for i, l := range e.lines {
		if i == line {
			l.text = text
		}
		if l.text != "" {
			b.WriteString(l.text + "\n")
		}
	}
	return b.Bytes()
}

// first returns the number of the first line of a kind, from 0.
func (e exported) first(kind string) int {
	for i, l := range e.lines {
		if l.Kind == kind {
			return i
		}
	}
	return -1
}

func (c client) importing(text []byte, change ...func(*api.ImportOptions)) (*api.ImportReport, error) {
	o := api.ImportOptions{Pool: c.w.pool, Tenant: id[events.TenantKind](c.w.t, c.tenantID), GiveDomains: true}
	for _, f := range change {
		f(&o)
	}
	return api.ImportTenant(c.w.t.Context(), bytes.NewReader(text), o)
}

// bare makes a tenant without domains.
func (w *world) bare() client {
	w.t.Helper()
	c := client{w: w, tenantID: w.operator.do("POST", "/v1/tenants", map[string]any{"name": "bare"}).want(w.t, 201).text("id")}
	c.key = w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID}).want(w.t, 201).text("secret")
	return c
}

// secretsOfExport are in no export.
var secretsOfExport = []string{"hunter2-header", "hunter2-password", "hunter2-brought-along", "hunter2-seed"}

// furnished makes a tenant with everything that an export has, each setting set.
func furnished(t *testing.T, w *world) client {
	t.Helper()
	c := w.bare()
	_, _, ca := pemOf(t)
	w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": c.tenantID, "domain": "moving.example"}).want(t, 201)
	c.do("POST", "/v1/domains", map[string]any{"domain": "claimed.example"}).want(t, 201)
	w.setQuota(c, map[string]any{"agents": 500, "keys": 7})
	w.operator.do("PATCH", "/v1/tenants/"+c.tenantID, map[string]any{"alert_addresses": []string{"ops@moving.example", "oncall@moving.example"}}).want(t, 200)
	w.operator.do("POST", "/v1/event-types", map[string]any{"name": "shared.created"}).want(t, 201)
	c.do("POST", "/v1/event-types", `{"name":"order.created","description":"Ünïcode","deprecated":true,"schema":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}},"sample":{"id":1,"note":"<&>"}}`).want(t, 201)
	c.do("POST", "/v1/event-types", map[string]any{"name": "order.plain"}).want(t, 201)
	c.do("POST", "/v1/agents", map[string]any{
		"address": "robot@moving.example", "webhook_url": "https://own.example.com/in", "allow_senders": []string{"@example.org", "x@y.example"},
		"deny_senders": []string{"*.spam.example"}, "require_dmarc": true,
	}).want(t, 201)
	c.do("POST", "/v1/agents", map[string]any{"address": "*@moving.example"}).want(t, 201)
	c.webhook("url", "https://plain.example.com/in")
	c.webhook(
		"url", "https://full.example.com/in", "description", "Ünïcode & <html>", "events", []string{"email.received", "email.sent", "order.created", "order.*"},
		"filters", map[string]any{"agent_ids": []string{"robot@moving.example"}, "conversation_ids": []string{"c1"}, "labels": []string{"vip"}},
		"max_in_flight", 7, "rate_limit", 9, "ordering", "strict", "paused", true, "enabled", true,
		"headers", map[string]any{"X-Api-Key": "hunter2-header"}, "auth", map[string]any{"type": "basic", "username": "user", "password": "hunter2-password"},
		"ca", ca, "retry", map[string]any{"type": "list", "delays": []string{"60s", "90m"}, "final": []int{422}, "jitter": 0.2}, "timeout", 29, "ed25519", true,
		"envelope", "v0.4", "signing_secret", "hunter2-brought-along",
	)
	c.webhook("kind", "nats", "url", "tls://broker.example.com", "subject", "mail.in", "auth", map[string]any{"type": "creds", "credentials": credsFile})
	off := c.webhook("url", "https://off.example.com/in", "enabled", false)
	c.do("POST", "/v1/events", `{"type":"email.sent","agent_id":"robot@moving.example","conversation_id":"c1","labels":["vip","a\"b"],"message_id":"m1","data":{"subject":"<b>&\u2028 ünïcode \\ \" ","n":1.50}}`).want(t, 202)
	c.do("POST", "/v1/events", `{"type":"order.created","data":{"id":2}}`).want(t, 202)
	mail := c.event()
	c.do("PATCH", "/v1/webhooks/"+off, map[string]any{"enabled": true}).want(t, 200)
	c.do("POST", "/v1/webhooks/"+off+"/test", nil).want(t, 202)
	c.do("PATCH", "/v1/webhooks/"+off, map[string]any{"enabled": false}).want(t, 200)
	message := insertMessage(t.Context(), t, w, c, mail, fmt.Appendf(nil, parcel, "x"))
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.events SET message_id = $2, agent_id = 'robot@moving.example' WHERE id = $1`, id[events.EventKind](t, mail), message)
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `UPDATE fanmail.messages SET agent_id = 'robot@moving.example'`)
	require.NoError(t, err)
	return c
}

// notRestored are the fields of a webhook that an import does not set as they were, with the reason.
var notRestored = map[string]string{
	"headers": "its values are secrets", "auth": "it has secrets", "public_key": "the key pair is another one",
	"paused": "all are paused", "paused_at": "all are paused", "created_at": "it is created now", "last_delivered_at": "it has delivered nothing here", "last_polled_at": "nobody has polled it here",
	"disabled_at": "it has missed nothing here", "auto_disabled_at": "not here", "disabled_reason": "not here",
}

func jsonNames(of reflect.Type) (names []string) {
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Anonymous {
			names = append(names, jsonNames(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// TestAnExportIsImportedAsItWas moves a tenant from one installation to another. It fails for a new setting of a webhook or
// an agent that is not set in furnished, or that an import leaves out.
func TestAnExportIsImportedAsItWas(t *testing.T) {
	t.Parallel()
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	keys, err := keyring.Parse(secret.Text(text))
	require.NoError(t, err)
	here, there := furnished(t, start(t)), start(t, func(o *api.Options) { o.Secrets = keys }).bare()
	before := here.export("")
	for _, s := range append([]string{here.key}, secretsOfExport...) {
		require.NotContains(t, string(before.text), s)
	}
	withKeys := func(o *api.ImportOptions) { o.Secrets, o.Quota = keys, true }
	dry, err := there.importing(before.text, withKeys, func(o *api.ImportOptions) { o.DryRun = true })
	require.NoError(t, err)
	require.Empty(t, there.export("").of("agent"), "a dry run changes nothing")
	report, err := there.importing(before.text, withKeys)
	require.NoError(t, err)
	require.Equal(t, dry.Rows, report.Rows, "a dry run says what will be done")
	after := there.export("")

	require.Equal(t, before.of("quota"), after.of("quota"))
	there.hasTypesAndAddressesOf(before, after)
	for _, kind := range []string{"agent", "domain", "webhook"} {
		require.Len(t, after.of(kind), len(before.of(kind)), kind)
	}
	for i, l := range before.of("domain") {
		require.Equal(t, l.Data["domain"], after.of("domain")[i].Data["domain"])
		require.Equal(t, l.Data["verified_at"] != nil, after.of("domain")[i].Data["verified_at"] != nil)
	}
	set := map[string]bool{}
	for i, l := range before.of("agent") {
		for field, value := range l.Data {
			if field == "created_at" {
				continue
			}
			set["agent "+field] = set["agent "+field] || value != nil && fmt.Sprint(value) != "[]" && value != false
			require.Equal(t, value, after.of("agent")[i].Data[field], field)
		}
	}
	for _, field := range []string{"address", "webhook_url", "allow_senders", "deny_senders", "require_dmarc"} {
		require.True(t, set["agent "+field], field)
	}
	for field := range before.of("agent")[0].Data {
		require.True(t, field == "created_at" || set["agent "+field], "furnished sets no %s of an agent", field)
	}
	moved := map[string]map[string]any{}
	for _, l := range after.of("webhook") {
		moved[l.Data["id"].(string)] = l.Data
		require.Equal(t, true, l.Data["paused"])
	}
	for _, l := range before.of("webhook") {
		for _, field := range jsonNames(reflect.TypeFor[api.Webhook]()) {
			value, got := l.Data[field], moved[l.Data["id"].(string)][field]
			if notRestored[field] == "" {
				require.Equal(t, value, got, field)
				set[field] = set[field] || value != nil && fmt.Sprint(value) != "map[]" && value != false
			}
		}
	}
	for _, field := range jsonNames(reflect.TypeFor[api.Webhook]()) {
		require.True(t, notRestored[field] != "" || set[field], "furnished sets no %s of a webhook, or say in notRestored why it is not restored", field)
	}
	require.Len(t, before.of("event"), 4)
	for i, l := range before.lines {
		if l.Kind == "event" || l.Kind == "message" {
			require.Equal(t, l.text, after.lines[i].text, "byte for byte")
		}
	}
	require.Len(t, before.of("message"), 1)
	require.Equal(t, before.lines[len(before.lines)-1], after.lines[len(after.lines)-1])

	require.Len(t, report.Webhooks, 4)
	for _, w := range report.Webhooks {
		require.True(t, strings.HasPrefix(w.SigningSecret, "whsec_"), "a new secret is shown")
		if w.URL == "https://full.example.com/in" {
			require.Equal(t, []string{"header X-Api-Key", "auth basic"}, w.Missing)
		}
	}
	planted := planted{secrets: []string{report.Webhooks[0].SigningSecret, strings.TrimPrefix(report.Webhooks[0].SigningSecret, "whsec_")}}
	planted.notStored(t, there.w)
	there.historyOnly(before)

	again, err := there.importing(before.text, withKeys)
	require.NoError(t, err)
	for _, row := range again.Rows {
		require.Zero(t, row.Added, row.What)
		require.Equal(t, row.There, row.Here, row.What)
	}
	require.Empty(t, again.Webhooks)
}

// hasTypesAndAddressesOf checks that the import of an export has brought the tenant's own types, whole, and its alert addresses.
func (c client) hasTypesAndAddressesOf(before, after exported) {
	t := c.w.t
	require.Len(t, before.of("event_type"), 2, "the operator's type is not the tenant's")
	require.Len(t, after.of("event_type"), 2)
	set := map[string]bool{}
	for i, l := range before.of("event_type") {
		for field, value := range l.Data {
			if field != "created_at" && field != "updated_at" {
				require.Equal(t, value, after.of("event_type")[i].Data[field], field)
				set[field] = set[field] || value != nil && value != "" && value != false
			}
		}
	}
	for field := range before.of("event_type")[0].Data {
		require.True(t, field == "created_at" || field == "updated_at" || set[field], "furnished sets no %s of an event type", field)
	}
	c.do("POST", "/v1/events", `{"type":"order.created","data":{"id":"no"}}`).want(t, 422).names(t, "body.data")
	got := c.w.operator.do("GET", "/v1/tenants/"+c.tenantID, nil).want(t, 200)
	require.Equal(t, []any{"ops@moving.example", "oncall@moving.example"}, got.json["alert_addresses"])
}

// historyOnly checks that imported events are for lists and replays, and that nobody gets them.
func (c client) historyOnly(before exported) {
	t := c.w.t
	var waiting, deliveries int
	require.NoError(t, c.w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM fanmail.outbox), (SELECT count(*) FROM fanmail.webhook_subscriber_deliveries)`).Scan(&waiting, &deliveries))
	require.Zero(t, waiting+deliveries, "no webhook gets an imported event")
	require.Len(t, c.do("GET", "/v1/events", nil).want(t, 200).ids(t, "id"), 4)
	for _, l := range before.of("event") {
		got := c.do("GET", "/v1/events/"+l.Data["id"].(string), nil).want(t, 200)
		require.Contains(t, string(got.raw), l.Data["envelope"].(string))
	}
	message := before.of("message")[0].Data["id"].(string)
	c.do("GET", "/v1/messages/"+message, nil).want(t, 200)
	c.do("GET", "/v1/messages/"+message+"/raw", nil).want(t, 404)
	require.Len(t, c.do("GET", "/v1/events?message_id="+message, nil).want(t, 200).ids(t, "id"), 1)
	for mode, want := range map[string]int{"all": 3, "missed": 3} {
		p := c.do("POST", "/v1/replays/preview", map[string]any{"since": "2026-01-01T00:00:00Z", "mode": mode}).want(t, 200)
		require.EqualValues(t, want, p.json["events"], "three of them, the test is left out")
	}
}

func TestAnImportRefusesWhatTheDoorWould(t *testing.T) {
	t.Parallel()
	here, w := furnished(t, start(t)), start(t)
	there, other := w.bare(), w.tenant()
	other.do("POST", "/v1/agents", map[string]any{"address": "robot@other.example"}).want(t, 201)
	e := here.export("")
	types, agents, hooks, event := e.first("event_type"), e.first("agent"), e.first("webhook"), e.first("event")
	edit := func(line int, path string, value any) []byte {
		var l map[string]any
		require.NoError(t, json.Unmarshal([]byte(e.lines[line].text), &l))
		at, names := l, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			at = at[name].(map[string]any)
		}
		at[names[len(names)-1]] = value
		text, err := json.Marshal(l)
		require.NoError(t, err)
		return e.with(line, string(text))
	}
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for name, c := range map[string]struct {
		text []byte
		line int // from 1
		says string
	}{
		"nothing":                {nil, 0, "cut off"},
		"another text":           {[]byte("hello\n"), 1, "no JSON object"},
		"a gzip":                 {[]byte("\x1f\x8b\x08\n"), 1, "UTF-8"},
		"another version":        {edit(0, "version", 2), 1, "version: is 2"},
		"cut off":                {e.text[:len(e.text)-len(e.lines[len(e.lines)-1].text)-1], len(e.lines) - 1, "cut off"},
		"a line is missing":      {e.with(event, ""), len(e.lines) - 1, "some are missing"},
		"an unknown kind":        {edit(event, "kind", "key"), event + 1, `"key"`},
		"an unknown field":       {edit(hooks, "data.secret", "x"), hooks + 1, "secret"},
		"a type of Fanmail's":    {edit(types, "data.name", "email.own"), types + 1, "data.name"},
		"a schema":               {edit(types, "data.schema", map[string]any{"type": "nothing"}), types + 1, "data.schema"},
		"a sample":               {edit(types, "data.sample", map[string]any{"id": "no"}), types + 1, "data.sample"},
		"a type of nobody":       {edit(hooks, "data.events", []string{"order.unheard"}), hooks + 1, "data.events[0]"},
		"an alert address":       {edit(0, "tenant.alert_addresses", []string{"Ops <ops@example.com>"}), 1, "tenant.alert_addresses"},
		"a private URL":          {edit(hooks, "data.url", "https://10.0.0.1/x"), hooks + 1, "data.url"},
		"another scheme":         {edit(agents, "data.webhook_url", "file:///etc/passwd"), agents + 1, "data.webhook_url"},
		"a header of ours":       {edit(hooks, "data.headers", map[string]string{"Host": "x"}), hooks + 1, "headers"},
		"a token URL":            {edit(hooks, "data.auth", map[string]any{"type": "oauth2", "token_url": "https://127.0.0.1/", "client_id": "a", "client_secret": "b"}), hooks + 1, "token_url"},
		"another tenant's agent": {edit(agents, "data.address", "robot@other.example"), agents + 1, "data.address"},
		"a domain of nobody":     {edit(agents, "data.address", "robot@elsewhere.example.net"), agents + 1, "data.address"},
		"an agent of others":     {edit(event, "data.agent_id", "robot@other.example"), event + 1, "data.agent_id"},
		"the future":             {edit(event, "data.created_at", future), event + 1, "future"},
		"another type":           {edit(event, "data.type", "email.delivered"), event + 1, "data.envelope"},
		"no type":                {edit(event, "data.type", "email.unheard"), event + 1, "data.type"},
		"another envelope's id":  {edit(event, "data.id", "evt_00000000000000000000000000000001"), event + 1, "data.envelope"},
		"no envelope":            {edit(event, "data.envelope", "hello"), event + 1, "data.envelope"},
		"a large envelope":       {edit(event, "data.envelope", `{"a":"`+strings.Repeat("x", events.MaxEnvelopeBytes)+`"}`), event + 1, "262144"},
		"a huge line":            {edit(event, "data.envelope", strings.Repeat("x", api.MaxImportLine)), event + 1, "2097152"},
		"a deep line":            {e.with(event, `{"kind":"event","data":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+"}"), event + 1, "nests deeper"},
		"a label":                {edit(event, "data.labels", []string{"a\x00b"}), event + 1, "data.labels"},
		"a quota":                {edit(e.first("quota"), "data.agents", int64(1)<<60), e.first("quota") + 1, "data.agents"},
		"a foreign message":      {edit(e.first("message"), "data.event_id", "evt_00000000000000000000000000000001"), e.first("message") + 1, "data.event_id"},
		"a message alone":        {edit(event, "kind", "message"), event + 1, "data"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := there.importing(c.text, func(o *api.ImportOptions) { o.Quota = true })
			var at *api.LineError
			require.ErrorAs(t, err, &at)
			require.Equal(t, c.line, at.Line, "%v", err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), other.tenantID)
		})
	}
	_, err := there.importing(e.text, func(o *api.ImportOptions) { o.GiveDomains = false })
	require.ErrorContains(t, err, "data.address: is on a domain that this tenant has not verified")
	left := there.export("")
	require.Empty(t, left.of("event_type"))
	require.Empty(t, append(append(left.of("domain"), left.of("agent")...), append(left.of("webhook"), left.of("event")...)...), "an import that fails leaves nothing")
	require.EqualValues(t, 0, left.of("quota")[0].Data["agents"])
}

// What the tenant has already stays as it is; a type of the operator's is no obstacle to its own.
func TestAnImportKeepsTheTypesAndAlertAddressesThatAreThere(t *testing.T) {
	t.Parallel()
	here, w := furnished(t, start(t)), start(t)
	there := w.bare()
	there.do("POST", "/v1/event-types", map[string]any{"name": "order.created", "description": "of its own"}).want(t, 201)
	w.operator.do("POST", "/v1/event-types", map[string]any{"name": "order.plain", "description": "the operator's"}).want(t, 201)
	w.operator.do("PATCH", "/v1/tenants/"+there.tenantID, map[string]any{"alert_addresses": []string{"here@example.com", "ops@moving.example"}}).want(t, 200)
	report, err := there.importing(here.export("?what=configuration").text)
	require.NoError(t, err)
	for _, row := range report.Rows {
		switch row.What {
		case "event_types":
			require.Equal(t, api.ImportCount{What: "event_types", There: 2, Added: 1, Here: 1}, *row)
		case "alert_addresses":
			require.Equal(t, api.ImportCount{What: "alert_addresses", There: 2, Here: 1}, *row)
		}
	}
	require.Equal(t, "of its own", there.do("GET", "/v1/event-types/order.created", nil).want(t, 200).text("description"))
	require.Equal(t, "tenant", there.do("GET", "/v1/event-types/order.plain", nil).want(t, 200).text("source"))
	got := w.operator.do("GET", "/v1/tenants/"+there.tenantID, nil).want(t, 200)
	require.Equal(t, []any{"here@example.com", "ops@moving.example"}, got.json["alert_addresses"])
}

// many makes an export of many events, which are inserted with their own times.
func many(t *testing.T, w *world, n int) (client, exported) {
	t.Helper()
	c := w.bare()
	ten := id[events.TenantKind](t, c.tenantID)
	_, err := w.pool.Exec(t.Context(), `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
		SELECT id, at, $1, 'email.sent', i, convert_to('{"type":"email.sent","id":"evt_' || replace(id::text, '-', '') || '","created_at":"' ||
			to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","schema_version":"1","data":{"n":' || i || '}}', 'UTF8')
		FROM generate_series(1, $2::int) AS i, LATERAL (SELECT gen_random_uuid() AS id, now() - make_interval(secs => i / 100) AS at) AS e`, ten, n)
	require.NoError(t, err)
	e := c.export("")
	require.Len(t, e.of("event"), n)
	return c, e
}

func TestAnImportThatFailsHalfWayLeavesNothing(t *testing.T) {
	t.Parallel()
	const n = 3000
	_, e := many(t, start(t), n)
	w := start(t)
	there, other := w.bare(), w.bare()
	stored := func() (have int) {
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.events WHERE tenant_id = $1`, id[events.TenantKind](t, there.tenantID)).Scan(&have))
		return have
	}
	ctx, kill := context.WithCancel(t.Context())
	var seen int64
	_, err := api.ImportTenant(ctx, bytes.NewReader(e.text), api.ImportOptions{
		Pool: w.pool, Tenant: id[events.TenantKind](t, there.tenantID), Progress: func(done, _ int64) { seen = done; kill() },
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, seen, "it was killed in the middle")
	require.Less(t, seen, int64(n))
	require.Zero(t, stored())

	// The last event is another tenant's here.
	last := e.of("event")[n-1]
	at, err := time.Parse(time.RFC3339Nano, last.Data["created_at"].(string))
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope) VALUES ($1, $2, $3, 'email.sent', 1, '{}')`,
		id[events.EventKind](t, last.Data["id"].(string)), at, id[events.TenantKind](t, other.tenantID))
	require.NoError(t, err)
	for _, dry := range []bool{true, false} {
		_, err = there.importing(e.text, func(o *api.ImportOptions) { o.DryRun = dry })
		require.ErrorContains(t, err, fmt.Sprintf("line %d: data.id: is the id of another event here", e.first("event")+n))
		require.Zero(t, stored())
	}
	_, err = w.pool.Exec(t.Context(), `DELETE FROM fanmail.events WHERE tenant_id = $1`, id[events.TenantKind](t, other.tenantID))
	require.NoError(t, err)
	_, err = there.importing(e.text)
	require.NoError(t, err)
	require.Equal(t, n, stored())
	require.Equal(t, e.of("event"), there.export("").of("event"))
	old := there.export("?since=" + last.Data["created_at"].(string))
	require.NotEmpty(t, old.of("event"))
	require.Equal(t, last.text, old.of("event")[len(old.of("event"))-1].text)
	require.Empty(t, there.export("?what=configuration").of("event"))
}

func TestADeletedTenantTakesNoImportAndNoEventOfAProgram(t *testing.T) {
	t.Parallel()
	here, w := furnished(t, start(t)), start(t)
	there := w.bare()
	ten := id[events.TenantKind](t, there.tenantID)
	insert := func() error {
		return pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
			_, err := outbox.Insert(t.Context(), tx, events.Event{TenantID: ten, Type: events.EmailSent, Data: []byte(`{}`)})
			return err
		})
	}
	file := here.export("?what=configuration").text
	w.operator.do("DELETE", "/v1/tenants/"+there.tenantID, nil).want(t, 202)
	var refused *events.DeletedTenantError
	_, err := there.importing(file)
	require.ErrorAs(t, err, &refused)
	require.False(t, refused.At.IsZero())
	require.ErrorAs(t, insert(), &refused)
	w.operator.do("POST", "/v1/tenants/"+there.tenantID+"/restore", nil).want(t, 200)
	require.NoError(t, insert())
	_, err = there.importing(file)
	require.NoError(t, err)
}
