package agentwebhook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/retry"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestAMailArrivesWithItsPayloadAndAuthenticationHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := r.agent("one@example.com", "/one"), r.agent("two@example.com", "/two")
	r.agent("none@example.com", "")
	r.run(r.deliverer().Run)
	mail := []byte("From: Ann <ann@example.net>\r\nTo: One <one@example.com>, list@example.org\r\nCc: carl@example.org\r\n" +
		"Reply-To: Desk <desk@example.net>, ann@example.net\r\nSubject: Hi\r\nMessage-ID: <p@example.net>\r\n\r\nHello\r\n")
	r.send(mail, one, two, "none@example.com")
	require.NoError(t, r.sink.WaitFor(r.ctx(), 2))
	for agent, path := range map[string]string{one: "/one", two: "/two"} {
		post := r.sink.PostsTo(path)[0]
		p := payload(t, post)
		require.Equal(t, "ann@example.net", p.From)
		require.Equal(t, []string{"one@example.com", "list@example.org"}, p.To, "the addresses of the To field, not the recipients")
		require.Equal(t, []string{"carl@example.org"}, p.CC)
		require.Equal(t, []string{"desk@example.net", "ann@example.net"}, p.ReplyTo)
		require.Equal(t, agent, p.Recipient)
		require.True(t, strings.HasPrefix(p.ConversationID, "conv_"))
		require.WithinDuration(t, time.Now(), p.ReceivedAt, time.Minute)
		var id events.MessageID
		var raw []byte
		require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT m.id, r.raw FROM fanmail.messages AS m JOIN fanmail.message_raws AS r ON r.id = m.raw_id WHERE m.agent_id = $1`, agent).Scan(&id, &raw))
		require.Equal(t, id.String(), p.MessageID)
		require.Equal(t, mail, raw)
		require.Equal(t, mail, p.RawMessage)

		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(post.Body, &fields))
		require.JSONEq(t, `"`+base64.StdEncoding.EncodeToString(mail)+`"`, string(fields["raw_message"]))
		for _, name := range []string{"message_id", "conversation_id", "from", "to", "cc", "reply_to", "recipient", "auth_headers", "received_at"} {
			require.Contains(t, fields, name)
		}
		require.Len(t, fields, 10, "no other fields")

		require.Equal(t, "false", p.AuthHeaders[agentwebhook.HeaderVerified], "DMARC did not pass")
		require.Equal(t, "ann@example.net", p.AuthHeaders[agentwebhook.HeaderSender])
		require.NotEmpty(t, p.AuthHeaders[agentwebhook.HeaderDomainCheck])
		for name, value := range p.AuthHeaders {
			require.Equal(t, value, post.Header.Get(name), "each result is a header too")
		}
		require.Equal(t, "application/json", post.Header.Get("Content-Type"))
		require.Equal(t, "1", post.Header.Get(attempt.HeaderAttempt))
		require.Empty(t, post.Header.Get("Deprecation"))
		require.Empty(t, post.Header.Get("Sunset"))
		v := r.until(agent, func(v row) bool { return v.Status == "delivered" })
		require.Equal(t, 1, v.Attempts)
		require.Equal(t, http.StatusOK, *v.Code)
		require.True(t, v.Finished)
		require.Nil(t, v.NextIn)
		require.InDelta(t, (48 * time.Hour).Seconds(), v.ExpiresIn, 0)
	}
	require.Empty(t, r.rows("none@example.com"), "an agent without a webhook has no delivery")
}

func TestFieldsThatTheMailLacksAreAbsent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.agent("a@example.com", "/a")
	r.run(r.deliverer().Run)
	r.send([]byte("Subject: bare\r\n\r\nx\r\n"), "a@example.com")
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	post := r.sink.Posts(0)[0]
	var fields map[string]any
	require.NoError(t, json.Unmarshal(post.Body, &fields))
	require.NotContains(t, fields, "reply_to", "Reply-To is never filled from From")
	require.NotContains(t, fields, "cc")
	require.Equal(t, []any{}, fields["to"], "never null")
	require.Equal(t, "bounces@example.net", fields["from"], "the sender of the envelope, if the mail has no From")
}

func TestRetriesCarryTheSamePayload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.FailFirst(2, sink.Answer{Status: http.StatusInternalServerError}))
	r.run(r.deliverer().Run)
	r.send(mailTo(1, a), a)
	for i := range 2 {
		v := r.until(a, func(v row) bool { return v.Attempts == i+1 })
		require.Equal(t, "pending", v.Status)
		require.Equal(t, "answered 500", *v.Error)
		r.makeDue()
	}
	r.until(a, func(v row) bool { return v.Status == "delivered" && v.Attempts == 3 })
	posts := r.sink.PostsTo("/a")
	require.Len(t, posts, 3)
	for i, p := range posts {
		require.Equal(t, string(posts[0].Body), string(p.Body))
		require.Equal(t, []string{"desk@example.net", "ann@example.net"}, payload(t, p).ReplyTo)
		require.Equal(t, i+1, p.Attempt)
		require.Equal(t, "ann@example.net", p.Header.Get(agentwebhook.HeaderSender))
	}
}

func TestTheScheduleEndsInFailureAfterEightAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.Status(http.StatusTeapot))
	r.run(r.deliverer().Run)
	r.send(mailTo(1, a), a)
	for i, minutes := range []float64{1, 5, 15, 60, 240, 480, 960} {
		v := r.until(a, func(v row) bool { return v.Attempts == i+1 })
		require.Equal(t, "pending", v.Status)
		require.InDelta(t, minutes*60, *v.NextIn, minutes*60*0.1+1, "after attempt %d", i+1)
		r.makeDue()
	}
	v := r.until(a, func(v row) bool { return v.Status == "failed" })
	require.Equal(t, retry.MaxAttempts, v.Attempts)
	require.Equal(t, http.StatusTeapot, *v.Code)
	require.Nil(t, v.NextIn)
	require.Equal(t, retry.MaxAttempts, r.sink.CountTo("/a"))
}

// An agent is suspended when its tenant is deleted.
func TestWhatASuspendedAgentHadTakenIsStillDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, never := r.agent("a@example.com", "/a"), r.agent("never@example.com", "/never")
	r.sink.Script("/a", sink.FailFirst(1, sink.Answer{Status: http.StatusServiceUnavailable}))
	r.send(mailTo(1, a, never), a, never)
	r.exec(`UPDATE fanmail.webhook_deliveries SET next_retry_at = now() + interval '1 hour' WHERE agent_id = $1`, never)
	d := r.deliverer()
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, "pending", r.rows(a)[0].Status)

	require.NoError(t, mailbox.Suspend(r.ctx(), r.pool, r.tenant, true))
	r.makeDue()
	require.NoError(t, d.Round(r.ctx()))
	for agent, attempts := range map[string]int{a: 2, never: 1} {
		v := r.rows(agent)[0]
		require.Nil(t, v.Error)
		require.Equal(t, "delivered", v.Status, agent)
		require.Equal(t, attempts, v.Attempts, agent)
	}
	require.Equal(t, 1, r.sink.CountTo("/never"))
}

func TestNoAttemptIsPlannedAfterTheDeliverysEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.RetryAfter(http.StatusServiceUnavailable, 7200))
	r.run(r.deliverer().Run)
	r.send(mailTo(1, a), a)
	v := r.until(a, func(v row) bool { return v.Attempts == 1 })
	require.InDelta(t, 7200, *v.NextIn, 5, "Retry-After is honoured")
	r.exec(`UPDATE fanmail.webhook_deliveries SET expires_at = now() + interval '1 hour'`)
	r.makeDue()
	v = r.until(a, func(v row) bool { return v.Status == "failed" })
	require.Equal(t, 2, v.Attempts)
}

func TestAMailOfAnySizeArrivesWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.run(r.deliverer().Run)
	const chunk = 3 * 64 << 10
	sent := map[string][]byte{}
	for i, size := range []int{chunk - 1, chunk, chunk + 1, chunk + 2, 2 * chunk, 3<<20 + 7} {
		head := fmt.Sprintf("From: ann@example.net\r\nTo: a@example.com\r\nMessage-ID: <size%d@example.net>\r\n\r\n", i)
		mail := append([]byte(head), make([]byte, size-len(head))...)
		for j := len(head); j < size; j++ {
			mail[j] = '?' + byte(rand.N(64)) // bytes that differ between the two alphabets of base64
			if j%70 == 69 && j < size-3 {
				mail[j-1], mail[j] = '\r', '\n'
			}
		}
		copy(mail[size-2:], "\r\n")
		r.send(mail, a)
		sent[string(mail)] = mail
	}
	require.NoError(t, r.sink.WaitFor(r.ctx(), len(sent)))
	for _, p := range r.sink.Posts(0) {
		raw := payload(t, p).RawMessage
		require.Contains(t, sent, string(raw), "%d bytes", len(raw))
		require.Equal(t, fmt.Sprint(len(p.Body)), p.Header.Get("Content-Length"))
		delete(sent, string(raw))
	}
	require.Empty(t, sent)
}

func TestAnEndpointNeverDelaysAcceptingMail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.exec(`UPDATE fanmail.agents SET webhook_url = 'http://127.0.0.1:65535/nobody-listens'`)
	r.send(mailTo(1, a), a) // accepted with 250 although no deliverer runs
	v := r.until(a, func(v row) bool { return v.Status == "pending" })
	require.Zero(t, v.Attempts)
	r.run(r.deliverer().Run)
	v = r.until(a, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	require.Zero(t, *v.Code)
	require.Contains(t, *v.Error, "refused")
	r.send(mailTo(1, a), a) // the same mail a second time
	require.Len(t, r.rows(a), 1, "the same mail is the same delivery")
}

func TestPrivateAddressesAndPlainHTTPAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.send(mailTo(1, a), a)
	stop := r.run(r.deliverer(func(o *agentwebhook.Options) { o.AllowNetworks = nil }).Run)
	v := r.until(a, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	require.Contains(t, *v.Error, "the address is not public")
	stop()
	r.makeDue()
	r.run(r.deliverer(func(o *agentwebhook.Options) { o.AllowHTTP = false }).Run)
	v = r.until(a, func(v row) bool { return v.Attempts == 2 })
	require.Equal(t, "pending", v.Status)
	require.Contains(t, *v.Error, "Config.AllowHTTP")
	require.Zero(t, r.sink.Count())
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.sink.Script("/a", sink.Redirect(http.StatusPermanentRedirect, r.sink.URL("/b")))
	r.run(r.deliverer().Run)
	r.send(mailTo(1, a), a)
	v := r.until(a, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, http.StatusPermanentRedirect, *v.Code)
	require.Zero(t, r.sink.CountTo("/b"))
}

func TestDeprecationAndSunsetHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.run(r.deliverer(func(o *agentwebhook.Options) {
		o.Deprecated = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		o.Sunset = time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)
	}).Run)
	r.send(mailTo(1, a), a)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	h := r.sink.Posts(0)[0].Header
	require.Equal(t, "@1796083200", h.Get("Deprecation"))
	require.Equal(t, "Tue, 01 Jun 2027 00:00:00 GMT", h.Get("Sunset"))
}

func TestHangingAgentsDelayNoOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	defer close(hold)
	const hanging = 20
	for i := range hanging {
		path := fmt.Sprintf("/hangs/%d", i)
		a := r.agent(fmt.Sprintf("hangs-%d@example.com", i), path)
		r.sink.Script(path, sink.Hang(hold))
		for n := range 5 {
			r.send(mailTo(n, a), a)
		}
	}
	healthy := r.agent("healthy@example.com", "/healthy")
	// Far fewer slots than endpoints that hang.
	r.run(r.deliverer(func(o *agentwebhook.Options) { o.Slots, o.SlowSlots = 4, 32 }).Run)
	const n = 40
	for i := range n {
		r.send(mailTo(i, healthy), healthy)
	}
	require.NoError(t, r.sink.WaitForPath(r.ctx(), "/healthy", n))
	for i := range hanging {
		now, most := r.sink.InFlight(fmt.Sprintf("/hangs/%d", i))
		require.LessOrEqual(t, most, 1, "one attempt at a time until it has answered fast")
		require.LessOrEqual(t, now, 1)
	}
	_, most := r.sink.InFlight("/healthy")
	require.LessOrEqual(t, most, 4)
}

func TestTwoDeliverersSendEachMailOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 60
	list := []string{r.agent("a@example.com", "/a"), r.agent("b@example.com", "/b"), r.agent("c@example.com", "/c")}
	for i := range n {
		r.send(mailTo(i, list...), list...)
	}
	for range 3 {
		r.run(r.deliverer().Run)
	}
	require.NoError(t, r.sink.WaitFor(r.ctx(), n*len(list)))
	require.Eventually(t, func() bool {
		var left int
		err := r.pool.QueryRow(context.Background(), `SELECT count(*) FROM fanmail.webhook_deliveries WHERE status <> 'delivered'`).Scan(&left)
		return err == nil && left == 0
	}, 30*time.Second, 20*time.Millisecond)
	seen := map[string]bool{}
	for _, p := range r.sink.Posts(0) {
		seen[payload(t, p).MessageID] = true
	}
	require.Len(t, seen, n*len(list))
	require.Equal(t, n*len(list), r.sink.Count())
}

func TestStoppingReleasesAttemptsInFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	hold := make(chan struct{})
	defer close(hold)
	r.sink.Script("/a", sink.Hang(hold))
	stop := r.run(r.deliverer(func(o *agentwebhook.Options) { o.Drain = 100 * time.Millisecond }).Run)
	r.send(mailTo(1, a), a)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	stop()
	v := r.rows(a)[0]
	require.Zero(t, v.Attempts, "the attempt does not count against the endpoint")
	require.Equal(t, "pending", v.Status)
	require.Less(t, *v.NextIn, 60.0, "due at once, not after the lease")
	r.sink.Script("/a", nil)
	r.run(r.deliverer().Run)
	r.until(a, func(v row) bool { return v.Status == "delivered" })
}

func TestALeasedDeliveryIsAttemptedWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, other := r.agent("a@example.com", "/a"), r.agent("other@example.com", "/other")
	r.send(mailTo(1, a), a)
	// Claimed by a deliverer that was killed.
	r.exec(`UPDATE fanmail.webhook_deliveries SET next_retry_at = now() + interval '1 hour'`)
	leased := r.rows(a)
	d := r.deliverer()
	_, err := d.DeliverSync(r.ctx(), r.tenant, leased[0].Message)
	require.ErrorIs(t, err, agentwebhook.ErrNotDue)
	r.run(d.Run)
	for n := range 2 { // the second hint for the other agent follows a hint for this one
		r.send(mailTo(n, other), other)
		require.NoError(t, r.sink.WaitForPath(r.ctx(), "/other", n+1))
		agentwebhook.Wake(r.nc, a)
	}
	require.Equal(t, leased, r.rows(a), "neither a search nor a hint changes it")
	r.exec(`UPDATE fanmail.webhook_deliveries SET next_retry_at = now() WHERE agent_id = $1`, a)
	r.until(a, func(v row) bool { return v.Status == "delivered" })
	require.Equal(t, 1, r.sink.CountTo("/a"))
}

func TestADeliveryThatCannotBeSentEndsWithTheReason(t *testing.T) {
	t.Parallel()
	for reason, change := range map[string]string{
		"expired":                             `UPDATE fanmail.webhook_deliveries SET expires_at = now()`,
		"the agent has no webhook any more":   `UPDATE fanmail.agents SET webhook_url = NULL`,
		"the mail is no longer kept":          `DELETE FROM fanmail.message_raws`,
		"the agent has no webhook any more ":  `DELETE FROM fanmail.agents`,
		"the mail is no longer kept (event) ": `DELETE FROM fanmail.events`,

		"the mail's stored event can't be decoded":   `UPDATE fanmail.events SET envelope = '{"event": "email.received", "data": {"to": ["a@example.com"]}}'`,
		"the mail's stored event can't be decoded ":  `UPDATE fanmail.events SET envelope = '{"type": "email.received", "data": {"to": ["a@example.com"]}}'`,
		"the mail's stored event can't be decoded  ": `UPDATE fanmail.events SET envelope = 'no JSON'`,
	} {
		r := newRig(t)
		a := r.agent("a@example.com", "/a")
		r.send(mailTo(1, a), a)
		r.exec(change)
		r.run(r.deliverer().Run)
		v := r.until(a, func(v row) bool { return v.Status == "failed" })
		require.True(t, strings.HasPrefix(reason, *v.Error), "%q after %s", *v.Error, change)
		require.Zero(t, v.Attempts)
		require.Zero(t, r.sink.Count())
	}
}

func TestRetentionExpiresAndDropsDays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 9, 10)`)
	insert := func(hours int, status string) {
		r.exec(`INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, next_retry_at, expires_at, max_attempts, status)
			SELECT gen_random_uuid(), t, $1, 'a@example.com', now() + interval '1 hour', t + interval '48 hours', 8, $3 FROM (SELECT now() - make_interval(hours => $2) AS t) AS at`, r.tenant, hours, status)
	}
	insert(200, "pending")
	insert(49, "pending")
	insert(49, "delivered")
	insert(47, "pending")
	d := r.deliverer()
	_, err := retention.Run(r.ctx(), r.pool, d.RetentionRules())
	require.NoError(t, err)
	var left, expired, pending int
	require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT count(*), count(*) FILTER (WHERE status = 'failed' AND last_error = 'expired' AND next_retry_at IS NULL),
		count(*) FILTER (WHERE status = 'pending') FROM fanmail.webhook_deliveries`).Scan(&left, &expired, &pending))
	require.Equal(t, 3, left, "the partition of the oldest was dropped")
	require.Equal(t, 1, expired)
	require.Equal(t, 1, pending)
	_, err = retention.Run(r.ctx(), r.pool, d.RetentionRules())
	require.NoError(t, err)
}

func TestSenderNamesBecomeSafeHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	r.run(r.deliverer().Run)
	r.send([]byte("From: =?utf-8?q?x?= <\xc3\xbcber@ex\xc3\xa4mple.net>\r\nMessage-ID: <h@x>\r\n\r\nx\r\n"), a)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	v := r.sink.Posts(0)[0].Header.Get(agentwebhook.HeaderSender)
	require.Equal(t, -1, bytes.IndexFunc([]byte(v), func(c rune) bool { return c > '~' || c < ' ' }), "%q", v)
}

func TestAnAttemptEndsAfterThirtySeconds(t *testing.T) {
	t.Parallel()
	require.Equal(t, 30*time.Second, agentwebhook.AttemptTimeout)
	r := newRig(t)
	list := []string{r.agent("hangs@example.com", "/hangs"), r.agent("drips@example.com", "/drips")}
	hold := make(chan struct{})
	defer close(hold)
	r.sink.Script("/hangs", sink.Hang(hold))
	r.sink.Script("/drips", sink.Always(sink.Answer{Status: http.StatusInternalServerError, Body: []byte("no"), Ends: hold}))
	r.run(r.deliverer().Run)
	r.send(mailTo(1, list...), list...)
	require.NoError(t, r.sink.WaitFor(r.ctx(), 2))
	for _, a := range list {
		v := r.until(a, func(v row) bool { return v.Attempts == 1 })
		require.Zero(t, *v.Code, "the answer was not complete")
		require.Equal(t, "no complete answer within 30 s", *v.Error)
	}
	var whole bool
	require.NoError(t, r.pool.QueryRow(r.ctx(), `SELECT bool_and(last_attempt_at >= created_at + interval '30 seconds') FROM fanmail.webhook_deliveries`).Scan(&whole))
	require.True(t, whole, "the attempts lasted 30 s")
}
