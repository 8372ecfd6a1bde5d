package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	shell "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// evil are texts that would do something if a page showed them as anything but text.
var evil = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</textarea></title></pre></details><svg onload=alert(1)>`,
	`javascript:alert(1)`, `{{.}}<!--`, "\u202Egnp.exe", "a\u0000b"[:1] + "\u2066x", `&lt;b&gt;`, strings.Repeat("W", 5000),
}

// hook makes a webhook of the tenant.
func (w *world) hook(url string, types ...string) string {
	w.t.Helper()
	var made struct{ ID string }
	w.call(w.tenantKey, "POST", "/v1/webhooks", map[string]any{"url": url, "events": append([]string{"email.received"}, types...)}, &made)
	return made.ID
}

// mail makes an event with these data, and a raw mail with its message.
func (w *world) mail(data map[string]any, raw string) (event, message string) {
	w.t.Helper()
	ctx := context.Background()
	id := events.NewRandom[events.MessageKind]()
	data["message_id"] = id.String()
	var made struct{ ID string }
	w.call(w.tenantKey, "POST", "/v1/events", map[string]any{"type": "email.received", "message_id": id.String(), "data": data}, &made)
	var eventID events.ID
	var tenant events.TenantID
	require.NoError(w.t, eventID.UnmarshalText([]byte(made.ID)))
	require.NoError(w.t, tenant.UnmarshalText([]byte(w.tenantID)))
	var at time.Time
	require.NoError(w.t, w.pool.QueryRow(ctx, `SELECT created_at FROM fanmail.events WHERE id = $1`, eventID).Scan(&at))
	b := &pgx.Batch{}
	mailbox.QueueMails(b, at, []mailbox.Mail{{Raw: []byte(raw), Messages: []mailbox.Message{{ID: id, TenantID: tenant, AgentID: "a@example.com", EventID: eventID}}}})
	require.NoError(w.t, pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, b).Close() }))
	return made.ID, id.String()
}

// sent makes a delivery of an event to a webhook with one failed attempt.
func (w *world) sent(event, hook, failure, response string) string {
	w.t.Helper()
	var made struct {
		Deliveries []struct{ ID string }
	}
	w.call(w.tenantKey, "POST", "/v1/events/"+event+"/redeliver", map[string]any{"webhook_id": hook}, &made)
	id := made.Deliveries[0].ID
	var key events.DeliveryID
	require.NoError(w.t, key.UnmarshalText([]byte(id)))
	_, err := w.pool.Exec(context.Background(), `WITH d AS (
			UPDATE fanmail.webhook_subscriber_deliveries SET attempts = 1, last_attempt_at = now(), last_status_code = 500, last_error = $2 WHERE id = $1 RETURNING id, created_at)
		INSERT INTO fanmail.webhook_delivery_attempts (delivery_id, created_at, attempt, at, duration_ms, status_code, reason, error, response)
		SELECT id, created_at, 1, now(), 12, 500, 'status_5xx', $2, $3 FROM d`, key, failure, response)
	require.NoError(w.t, err)
	return id
}

// fannedOut empties the outbox, as if a dispatcher had taken all events.
func (w *world) fannedOut() {
	w.t.Helper()
	_, err := w.pool.Exec(context.Background(), `DELETE FROM fanmail.outbox`)
	require.NoError(w.t, err)
}

// harmless checks that a page has no script but the console's own, no handler, and no link that leaves the console.
func (d *document) harmless() *document {
	d.t.Helper()
	require.NotContains(d.t, d.text, "ZgotmplZ", "a value stands where no text can")
	for n := range d.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script":
			require.True(d.t, strings.HasPrefix(attribute(n, "src"), console.Base+"/assets/"), "a script")
			require.Nil(d.t, n.FirstChild)
		case "style", "object", "embed", "base", "math":
			d.t.Errorf("a page holds <%s>", n.Data)
		case "img", "svg":
			require.Empty(d.t, attribute(n, "onload"))
		case "iframe":
			_, sandboxed := "", false
			for _, a := range n.Attr {
				sandboxed = sandboxed || a.Key == "sandbox" && a.Val == ""
			}
			require.True(d.t, sandboxed)
		}
		for _, a := range n.Attr {
			require.False(d.t, strings.HasPrefix(a.Key, "on"), "%s of <%s>", a.Key, n.Data)
			require.NotEqual(d.t, "style", a.Key)
			require.NotEqual(d.t, "srcdoc", a.Key)
			if a.Key == "href" || a.Key == "src" || a.Key == "action" || a.Key == "formaction" {
				require.True(d.t, strings.HasPrefix(a.Val, console.Base) || a.Val == "#main", "%s=%q", a.Key, a.Val)
			}
		}
	}
	return d
}

func TestHostileTextsAreTextOnEveryPageOfAnEvent(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com/" + url.PathEscape(evil[1]))
	w.hook("https://other.example.com/?" + url.QueryEscape(evil[0]))
	b := w.signedIn(w.tenantKey)
	for _, text := range evil {
		data := map[string]any{
			"subject": text, "from": []any{map[string]any{"name": text, "address": text}}, "to": text, "cc": []string{text}, "reply_to": text, "recipient": text, "date": text,
			"message_id_header": text, "text": text, "html": text, "parse_error": text, "truncated": []string{text},
			"attachments": []any{map[string]any{"filename": text, "content_type": text, "size": 3}},
			"headers":     [][2]string{{text, text}}, "authentication": map[string]any{"checked": true, "spf": map[string]any{"result": text}},
		}
		event, message := w.mail(data, "Subject: "+text+"\r\n\r\n"+text)
		delivery := w.sent(event, hook, text, text)
		w.fannedOut()
		for _, path := range []string{
			"/events/" + event, "/events/" + event + "?fragment=live", "/deliveries/" + delivery, "/deliveries/" + delivery + "?fragment=live", "/messages/" + message, "/deliveries", "/events",
			"/search?q=" + url.QueryEscape(text), "/events?subject=" + url.QueryEscape(text[:min(len(text), 500)]) + "&from=" + url.QueryEscape(text[:min(len(text), 500)]),
		} {
			d := b.get(path)
			if d.status == http.StatusSeeOther {
				continue
			}
			if strings.HasPrefix(path, "/search") && len(text) > 998 {
				d.want(http.StatusUnprocessableEntity).harmless()
				continue
			}
			d.want(http.StatusOK).harmless()
			require.Less(t, len(d.text), 1<<20)
		}
		page := b.get("/events/" + event)
		require.Contains(t, words(page.root), strings.Join(strings.Fields(text[:min(len(text), 900)]), " "), "the text itself is shown")
	}
}

func TestTheHTMLOfAMailHasNoRights(t *testing.T) {
	t.Parallel()
	w := start(t)
	event, _ := w.mail(map[string]any{"subject": "x", "html": `<p>hello</p><script>alert(1)</script><img src="https://tracker.example/x.png">`}, "x")
	b := w.signedIn(w.tenantKey)
	frame := b.get("/events/" + event).find("iframe")
	require.NotNil(t, frame)
	require.Equal(t, console.Base+"/events/"+event+"/html", attribute(frame, "src"))
	d := b.get("/events/" + event + "/html").want(http.StatusOK)
	require.Equal(t, "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'", d.header.Get("Content-Security-Policy"))
	require.Equal(t, "nosniff", d.header.Get("X-Content-Type-Options"))
	require.Equal(t, "off", d.header.Get("X-Dns-Prefetch-Control"))
	require.Equal(t, "no-referrer", d.header.Get("Referrer-Policy"))
	require.Contains(t, d.text, "<p>hello</p>")
	require.Contains(t, words(b.get("/events/"+event).root), "Images, scripts and everything else that the mail would load are blocked.")

	plain, _ := w.mail(map[string]any{"subject": "x", "text": "x"}, "x")
	b.get("/events/" + plain + "/html").want(http.StatusNotFound)
	_, key := w.tenant("other")
	other := w.signedIn(key)
	for _, path := range []string{"", "/html", "/envelope"} {
		other.get("/events/" + event + path).want(http.StatusNotFound)
	}
}

func TestFilesAreOnlyEverDownloaded(t *testing.T) {
	t.Parallel()
	w := start(t)
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=x.html\r\n\r\n<script>alert(1)</script>\r\n--b--\r\n"
	name := "../../\u202Egnp\"\r\n<script>.html"
	event, message := w.mail(map[string]any{"subject": "x", "attachments": []any{map[string]any{"filename": name, "content_type": "text/html", "size": 25}}}, raw)
	b := w.signedIn(w.tenantKey)
	delivery := w.sent(event, w.hook("https://hooks.example.com/"), "x", "x")
	for path, want := range map[string]string{
		"/messages/" + message + "/raw":           raw,
		"/messages/" + message + "/attachments/0": "<script>alert(1)</script>",
		"/events/" + event + "/envelope":          `"subject":"x"`,
		"/deliveries/" + delivery + "/body":       `"subject":"x"`,
	} {
		d := b.get(path).want(http.StatusOK)
		require.Contains(t, d.text, want)
		require.Equal(t, "application/octet-stream", d.header.Get("Content-Type"), path)
		require.Equal(t, "nosniff", d.header.Get("X-Content-Type-Options"), path)
		require.Equal(t, "sandbox; default-src 'none'", d.header.Get("Content-Security-Policy"), path)
		disposition := d.header.Get("Content-Disposition")
		require.True(t, strings.HasPrefix(disposition, "attachment"), disposition)
		for _, bad := range []string{"\u202E", "/", "<", "%E2%80%AE", "..%2F"} {
			require.NotContains(t, disposition, bad)
		}
	}
	for _, path := range []string{"/messages/" + message + "/attachments/7", "/messages/" + message + "/attachments/-1", "/messages/" + events.NewRandom[events.MessageKind]().String() + "/raw"} {
		b.get(path).want(http.StatusNotFound)
	}
	_, key := w.tenant("other")
	other := w.signedIn(key)
	for _, path := range []string{"/messages/" + message, "/messages/" + message + "/raw", "/messages/" + message + "/attachments/0", "/deliveries/" + delivery, "/deliveries/" + delivery + "/body"} {
		other.get(path).want(http.StatusNotFound)
	}
	long, _ := w.mail(map[string]any{"subject": "long"}, "Subject: long\r\n\r\n"+strings.Repeat("line\r\n", 50_000))
	page := words(b.get("/events/" + long).want(http.StatusOK).root)
	require.Contains(t, page, "This is the beginning of 293 KiB.")
	require.Less(t, len(page), 100_000)
}

func TestAnEventsPageTellsItsWay(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com/in")
	event, message := w.mail(map[string]any{"subject": "Order 42", "from": "ann@shop.example"}, "Subject: Order 42\r\n\r\nhello")
	b := w.signedIn(w.tenantKey)
	require.Contains(t, words(b.get("/events/"+event).want(http.StatusOK).root), "In the outbox : it is not fanned out yet. Not published yet.")
	w.fannedOut()
	delivery := w.sent(event, hook, "HTTP 500", "try later")
	later := w.hook("https://hooks.example.com/later")
	page := b.get("/events/" + event).want(http.StatusOK)
	text := words(page.find("ol[id=timeline]"))
	for _, want := range []string{
		"Accepted", "Message " + message, "Relayed and fanned out to 1 delivery", "https://hooks.example.com/in sent again", "Attempt 1", "500", "12 ms", "status_5xx", "HTTP 500", "try later",
		"Not sent to https://hooks.example.com/later The webhook was created after the event.", "Replay what it missed", "Retry now", "Redeliver",
	} {
		require.Contains(t, text, want)
	}
	require.Contains(t, words(page.root), "Subject: Order 42 hello", "the raw mail stands beside")
	live := words(b.get("/events/" + event + "?fragment=live").want(http.StatusOK).find("ol[id=timeline]"))
	age := regexp.MustCompile(`\b(now|\d+ s ago|in \d+ s)\b`) // grows between the two requests
	require.Equal(t, age.ReplaceAllString(text, "then"), age.ReplaceAllString(live, "then"))

	b.get("/events/" + event)
	b.post("/events/"+event+"/redeliver", url.Values{"webhook_id": {later}}).want(http.StatusSeeOther)
	require.Contains(t, words(b.get("/events/"+event).root), "to 2 deliveries")
	b.post("/events/"+event+"/redeliver", url.Values{}).want(http.StatusSeeOther)
	b.post("/deliveries/"+delivery+"/retry", url.Values{"event_id": {event}}).want(http.StatusSeeOther)
	b.post("/events/"+event+"/redeliver", url.Values{"csrf": {"wrong"}}).want(http.StatusForbidden)
	b.post("/deliveries/"+delivery+"/retry", url.Values{"csrf": {"wrong"}}).want(http.StatusForbidden)

	var read struct{ Secret string }
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}, &read)
	viewer := w.signedIn(read.Secret)
	require.NotContains(t, words(viewer.get("/events/"+event).want(http.StatusOK).root), "Retry now")
	viewer.post("/deliveries/"+delivery+"/retry", url.Values{}).want(http.StatusForbidden)
}

func TestOneBoxFindsAnEvent(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com/in")
	event, message := w.mail(map[string]any{"subject": "Order 42", "from": "ann@shop.example", "to": "team@corp.example", "message_id_header": "7@shop.example"}, "x")
	second, _ := w.mail(map[string]any{"subject": "Order 43", "from": "ann@shop.example", "to": "boss@corp.example", "message_id_header": "8@shop.example"}, "x")
	delivery := w.sent(event, hook, "x", "x")
	b := w.signedIn(w.tenantKey)
	for q, to := range map[string]string{
		event: "/events/" + event, strings.ToUpper(event): "/events/" + event, delivery: "/deliveries/" + delivery, message: "/events/" + event, hook: "/webhooks/" + hook,
		"<7@shop.example>": "/events/" + event, "8@shop.example": "/events/" + second, "boss@corp.example": "/events/" + second, "order 42": "/events/" + event,
		"https://hooks.example.com/in": "/webhooks/" + hook,
	} {
		require.Equal(t, console.Base+to, b.get("/search?q="+url.QueryEscape(q)).want(http.StatusSeeOther).header.Get("Location"), q)
	}
	for _, q := range []string{"ann@shop.example", "@shop.example", "order"} {
		page := b.get("/search?q=" + url.QueryEscape(q)).want(http.StatusOK)
		require.Contains(t, page.text, event)
		require.Contains(t, page.text, second)
	}
	for _, q := range []string{"nothing", "evt_" + strings.Repeat("0", 32), "https://nobody.example/", "<none@x.example>"} {
		require.Contains(t, words(b.get("/search?q="+url.QueryEscape(q)).want(http.StatusOK).root), "Nothing was found for", q)
	}
	require.Contains(t, words(b.get("/search").want(http.StatusOK).root), "Search by an id")
	_, key := w.tenant("other")
	require.Contains(t, words(w.signedIn(key).get("/search?q="+event).want(http.StatusOK).root), "Nothing was found for")

	page := b.get("/events?from=ann@shop.example&subject=43&within=24h").want(http.StatusOK)
	require.Contains(t, words(page.root), "Order 43 ann@shop.example email.received")
	require.Contains(t, page.text, second)
	require.NotContains(t, page.text, event)
	require.Contains(t, b.get("/deliveries?status=pending").want(http.StatusOK).text, delivery)
	require.Contains(t, words(b.get("/deliveries?status=failed").want(http.StatusOK).root), "No delivery matches")
}

// The command is run by a shell, with a curl that prints its arguments.
func TestTheCommandSendsTheSignedBody(t *testing.T) {
	t.Parallel()
	w := start(t)
	var made struct {
		ID     string
		Secret string `json:"signing_secret"`
	}
	address := "https://hooks.example.com/in'$(touch%20x)"
	w.call(w.tenantKey, "POST", "/v1/webhooks", map[string]any{"url": address, "events": []string{"email.received"}, "headers": map[string]string{"X-Quote": "it's"}}, &made)
	event, _ := w.mail(map[string]any{"subject": "it's $(date)"}, "x")
	delivery := w.sent(event, made.ID, "x", "x")
	b := w.signedIn(w.tenantKey)
	page := b.get("/deliveries/" + delivery).want(http.StatusOK)
	require.NotContains(t, page.text, made.Secret)
	body := b.get("/deliveries/" + delivery + "/body").want(http.StatusOK).text
	require.True(t, json.Valid([]byte(body)))
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "body.json"), []byte(body), 0o600))
	command := page.find("code[id=curl]").FirstChild.Data
	script := "curl() { printf '%s\\0' \"$@\"; }\n" + strings.Replace(command, "'whsec_…'", "'"+made.Secret+"'", 1)
	run := shell.CommandContext(t.Context(), "sh", "-euc", script)
	run.Dir = dir
	out, err := run.Output()
	require.NoError(t, err, script)
	args := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	require.Equal(t, []string{"-i"}, args[:1])
	sent := http.Header{}
	for i, a := range args {
		if a == "-H" {
			name, value, _ := strings.Cut(args[i+1], ": ")
			sent.Set(name, value)
		}
	}
	require.NoError(t, signature.Verify(made.Secret, sent, []byte(body), time.Now(), 0))
	require.Equal(t, delivery, sent.Get("Fanmail-Delivery-Id"))
	require.Equal(t, "application/json", sent.Get("Content-Type"))
	require.Equal(t, "***", sent.Get("X-Quote"))
	require.Contains(t, args, "@body.json")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "nothing of the webhook's is run")
}

func TestTheReceiversShownAreThoseThatTheTestsRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/receive-webhooks.md")
	require.NoError(t, err)
	for id, language := range map[string]string{"go": "go", "js": "js", "py": "python"} {
		code, err := os.ReadFile(fmt.Sprintf("snippets/receiver.%s.txt", id))
		require.NoError(t, err)
		require.Contains(t, string(page), "```"+language+"\n"+string(code)+"```")
	}
}
