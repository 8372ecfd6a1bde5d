package ingest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/dnstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// rule sets an agent's rules for senders.
func rule(t testing.TB, pool *pgxpool.Pool, of events.TenantID, agent string, r mailbox.SenderRules) {
	t.Helper()
	_, err := mailbox.ChangeAgent(t.Context(), pool, of, agent, mailbox.AgentChange{Allow: &r.Allow, Deny: &r.Deny, RequireDMARC: &r.RequireDMARC})
	require.NoError(t, err)
}

// deliver sends a mail of the author, from the address of the envelope, to the recipients, and returns the reply.
func (w *wire) deliver(code int, envelope, from string, to ...string) string {
	w.t.Helper()
	w.say(250, "MAIL FROM:<"+envelope+">")
	for _, a := range to {
		w.say(250, "RCPT TO:<"+a+">")
	}
	return w.data(code, fmt.Sprintf("From: %s\r\nMessage-ID: <%d@example.org>\r\n\r\nHello\r\n", from, time.Now().UnixNano()))
}

// arrived are how many mails each agent has.
func arrived(t testing.TB, pool *pgxpool.Pool) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, m := range mails(t, pool) {
		n[m.Agent]++
	}
	return n
}

// refusals are how often mail was refused for the reason.
func refusals(t testing.TB, reg *prometheus.Registry, reason string) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "fanmail_ingest_refused_total" && m.GetLabel()[0].GetValue() == reason {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// Each agent's rules are for its own mail alone, also where it takes a tag or a whole domain.
func TestAgentsAcceptMailOfTheSendersTheyWant(t *testing.T) {
	t.Parallel()
	pool, reg := pgtest.Pool(t), prometheus.NewRegistry()
	id := tenant(t, pool, "open@example.com", "friends@example.com", "*@example.net")
	rule(t, pool, id, "friends@example.com", mailbox.SenderRules{Allow: []string{"@friend.example", "*.friend.example"}, Deny: []string{"mallory@friend.example"}})
	rule(t, pool, id, "*@example.net", mailbox.SenderRules{Deny: []string{"@spam.example", "*.spam.example"}})
	w := hello(t, serve(t, pool, ingest.Options{Registerer: reg}))

	for _, from := range []string{"Ann <ANN@Friend.example>", "ann@mail.friend.example", `"ann"@friend.example`} {
		w.deliver(250, "bounces@relay.example", from, "friends@example.com")
	}
	w.deliver(250, "", "ann@friend.example", "friends+tag@example.com")
	for _, from := range []string{"eve@else.example", "ann@friend.example, eve@else.example", "ann@friend.example <eve@else.example>", "undisclosed:;"} {
		require.Contains(t, w.deliver(550, "ann@friend.example", from, "friends+tag@example.com"), "allow_senders")
	}
	require.Contains(t, w.deliver(550, "", "Mallory@friend.example", "friends@example.com"), "deny_senders")
	require.Contains(t, w.deliver(550, "mallory@friend.example", "ann@friend.example", "friends@example.com"), "5.7.1 ")
	for _, sender := range []string{"x@spam.example", "x@a.b.SPAM.example"} {
		require.Contains(t, w.deliver(550, sender, "ann@friend.example", "any@example.net"), "deny_senders")
		require.Contains(t, w.deliver(550, "", "ann@friend.example, "+sender, "any@example.net"), "deny_senders")
	}
	w.deliver(250, "x@nospam.example", "x@nospam.example", "any@example.net")
	require.Equal(t, map[string]int{"friends@example.com": 4, "*@example.net": 1}, arrived(t, pool))

	// Others get what one agent refuses.
	w.deliver(250, "x@spam.example", "x@spam.example", "friends@example.com", "open@example.com", "any@example.net")
	require.Equal(t, map[string]int{"friends@example.com": 4, "*@example.net": 1, "open@example.com": 1}, arrived(t, pool))
	require.EqualValues(t, 5, refusals(t, reg, "sender_not_allowed"))
	require.EqualValues(t, 7, refusals(t, reg, "sender_denied"))
}

// An agent is remembered for a minute, its rules are not.
func TestChangedRulesForSendersHoldAtOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	id := tenant(t, pool, "a@example.com")
	w := hello(t, serve(t, pool, ingest.Options{}))
	const from = "x@spam.example"
	for range 2 {
		w.deliver(250, "", from, "a@example.com")
		rule(t, pool, id, "a@example.com", mailbox.SenderRules{Deny: []string{from}})
		w.deliver(550, "", from, "a@example.com")
		rule(t, pool, id, "a@example.com", mailbox.SenderRules{})
	}
	require.Equal(t, map[string]int{"a@example.com": 2}, arrived(t, pool))
}

func TestAnAgentCanRequireDMARC(t *testing.T) {
	t.Parallel()
	dns, _ := dnstest.Serve(t, dnstest.Zone{
		"good.example. TXT": {"v=spf1 ip4:127.0.0.1 -all"}, "_dmarc.good.example. TXT": {"v=DMARC1; p=none"},
		"bad.example. TXT": {"v=spf1 -all"}, "_dmarc.bad.example. TXT": {"v=DMARC1; p=none"},
		"silent.example. TXT": {dnstest.Silence}, "_dmarc.silent.example. TXT": {dnstest.Silence},
	})
	pool := pgtest.Pool(t)
	id := tenant(t, pool, "open@example.com", "strict@example.com")
	rule(t, pool, id, "strict@example.com", mailbox.SenderRules{RequireDMARC: true, Deny: []string{"eve@good.example"}})
	w := hello(t, serve(t, pool, ingest.Options{Authenticate: true, DNSServer: dns, AuthTimeout: time.Second}))
	w.deliver(250, "ann@good.example", "ann@good.example", "strict@example.com")
	require.Contains(t, w.deliver(550, "eve@good.example", "eve@good.example", "strict@example.com"), "deny_senders")
	for _, from := range []string{"ann@bad.example", "ann@none.example", "ann@good.example, eve@bad.example"} { // the envelope alone proves nothing
		require.Contains(t, w.deliver(550, "ann@good.example", from, "strict@example.com"), "require_dmarc")
	}
	w.deliver(250, "ann@bad.example", "ann@bad.example", "strict@example.com", "open@example.com")
	require.Equal(t, map[string]int{"strict@example.com": 1, "open@example.com": 1}, arrived(t, pool))

	// While nothing is known, the mail is to come again. Others have it, and once only.
	const unknown = "From: ann@silent.example\r\nMessage-ID: <1@silent.example>\r\n\r\nHello\r\n"
	for range 2 {
		w.begin("strict@example.com", "open@example.com")
		require.Contains(t, w.data(451, unknown), "try again later")
	}
	require.Equal(t, map[string]int{"strict@example.com": 1, "open@example.com": 2}, arrived(t, pool))
	w.begin("strict@example.com", "open@example.com")
	w.data(451, "From: ann@silent.example\r\n\r\nHello\r\n")
	require.Equal(t, map[string]int{"strict@example.com": 1, "open@example.com": 2}, arrived(t, pool), "nothing would tell the repetition from a new mail")
}

// The edge has answered with 250, so the intake drops what no agent wants. It is no dead letter.
func TestAPublishedMailThatNoAgentWantsIsDropped(t *testing.T) {
	t.Parallel()
	pool, js, reg := pgtest.Pool(t), broker(t), prometheus.NewRegistry()
	id := tenant(t, pool, "open@example.com", "strict@example.com")
	rule(t, pool, id, "strict@example.com", mailbox.SenderRules{Deny: []string{"@spam.example"}})
	w := hello(t, publishing(t, js, nil))
	w.deliver(250, "x@spam.example", "x@spam.example", "strict@example.com")
	w.deliver(250, "x@spam.example", "x@spam.example", "strict@example.com", "open@example.com")
	w.deliver(250, "x@good.example", "x@good.example", "strict@example.com")
	takingRaw(t, pool, js, ingest.Options{Registerer: reg})
	emptied(t, js)
	require.Equal(t, map[string]int{"strict@example.com": 1, "open@example.com": 1}, arrived(t, pool))
	require.EqualValues(t, 2, refusals(t, reg, "sender_denied"))
	dead, err := js.Stream(t.Context(), stream.Dead)
	require.NoError(t, err)
	require.Zero(t, dead.CachedInfo().State.Msgs)
}
