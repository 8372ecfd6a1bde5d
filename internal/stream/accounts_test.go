package stream_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// processUsers are the users of deploy/nats/accounts.conf that an attacker may become.
var processUsers = []string{"publisher", "dispatcher", "ingest", "edge", "api"}

// accounts returns deploy/nats/accounts.conf with passwords.
func accounts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/nats/accounts.conf")
	require.NoError(t, err)
	return regexp.MustCompile(`\$FANMAIL_NATS_\w+_PASSWORD`).ReplaceAllString(string(text), "secret")
}

// guarded starts a broker with the accounts and all streams, and returns how to connect as a user.
func guarded(t *testing.T) (as func(user string) (*nats.Conn, jetstream.JetStream)) {
	t.Helper()
	url, _ := natstest.Configured(t, accounts(t))
	as = func(user string) (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect(url, nats.UserInfo(user, "secret"), nats.CustomInboxPrefix("_INBOX_"+user),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // most of what the attacker asks is refused
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		require.NoError(t, err)
		return nc, js
	}
	_, js := as("operator")
	require.NoError(t, stream.EnsureAll(t.Context(), js, stream.Options{}))
	return as
}

// TestNoAnswerOfTheBrokerReachesWhatItsAskerMayNotPublish: the broker checks no permission for the subject of an answer.
// Each user sends all requests that have an answer, and stores what answers may hold. The answers are to go to
// JetStream's API, which would obey those without a body too, to another process's subjects, and to a listener.
func TestNoAnswerOfTheBrokerReachesWhatItsAskerMayNotPublish(t *testing.T) {
	t.Parallel()
	as := guarded(t)
	ctx := t.Context()
	operator, js := as("operator")
	heard, err := operator.SubscribeSync("answers.>")
	require.NoError(t, err)
	victims := func() (missing []string) {
		for _, name := range []string{"VICTIM", stream.Events, stream.Deliveries, stream.Intake, stream.Dead, stream.Raw, stream.RawObjectsStream, "KV_" + stream.Recipients} {
			if _, err := js.Stream(ctx, name); err != nil {
				missing = append(missing, name)
			}
		}
		return missing
	}
	for _, user := range append(slices.Clone(processUsers), "operator") {
		t.Run(user, func(t *testing.T) {
			nc, _ := as(user)
			for _, name := range []string{"VICTIM", "EMPTIED"} {
				_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
				require.NoError(t, err)
				_, err = js.CreateOrUpdateConsumer(ctx, name, jetstream.ConsumerConfig{Durable: "c"})
				require.NoError(t, err)
				_, err = js.Publish(ctx, name+".1", []byte("x"))
				require.NoError(t, err)
			}
			before := stored(ctx, t, js)
			for _, target := range []string{
				"answers." + user, "$JS.API.STREAM.DELETE.VICTIM", "$JS.API.CONSUMER.DELETE.EMPTIED.c", "$JS.API.STREAM.PURGE.EMPTIED",
				"$JS.API.STREAM.MSG.DELETE.EMPTIED", "$JS.API.STREAM.CREATE.FORGED", "VICTIM.2", "mail.intake.ten_x", "mail.intake.own.ten_x", "mail.raw.x",
			} {
				if user != "operator" && mayPublish(t, user, target) || user == "operator" && !strings.HasPrefix(target, "answers") {
					continue
				}
				ask(t, nc, target)
			}
			// The broker has handled all of that when it has handled a change that was asked for later.
			_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "LAST", Subjects: []string{"last.>"}, Description: user})
			require.NoError(t, err)
			require.Empty(t, victims(), "streams are gone")
			emptied, err := js.Stream(ctx, "EMPTIED")
			require.NoError(t, err)
			require.Equal(t, emptied.CachedInfo().State.LastSeq, emptied.CachedInfo().State.Msgs, "no message is removed")
			_, err = emptied.Consumer(ctx, "c")
			require.NoError(t, err)
			_, err = js.Stream(ctx, "FORGED")
			require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
			if user == "operator" { // who is in the account of the streams: the requests do have answers
				_, err := heard.NextMsgWithContext(ctx)
				require.NoError(t, err)
				return
			}
			n, _, err := heard.Pending()
			require.NoError(t, err)
			require.Zero(t, n, "an answer left the account of %s", user)
			after := stored(ctx, t, js)
			for name := range after {
				if slices.Contains([]string{"VICTIM", stream.Intake, stream.Raw}, name) && !mayPublish(t, user, subjectOf[name]) {
					require.Equal(t, before[name], after[name], "%s has an answer as a message", name)
				}
			}
		})
	}
}

// subjectOf is a subject of streams.
var subjectOf = map[string]string{"VICTIM": "VICTIM.2", stream.Intake: "mail.intake.ten_x", stream.Raw: "mail.raw.x"}

// stored is the number of messages that each stream has ever taken.
func stored(ctx context.Context, t *testing.T, js jetstream.JetStream) map[string]uint64 {
	t.Helper()
	n := map[string]uint64{}
	streams := js.ListStreams(ctx)
	for s := range streams.Info() {
		n[s.Config.Name] = s.State.LastSeq
	}
	require.NoError(t, streams.Err())
	return n
}

// ask sends every request that has an answer, with target as its subject. Each stream of the user gets messages before
// that a command of JetStream's API could be made of.
func ask(t *testing.T, nc *nats.Conn, target string) {
	t.Helper()
	const acc = `{"acc":"FANMAIL","rtt":1}`
	request := func(subject, body string) {
		require.NoError(t, nc.PublishRequest(subject, target, []byte(body)))
	}
	subjects := []string{
		"mail.events.ten_x.email.sent", "fanmail.deliveries.0.x", "mail.intake.ten_x", "mail.intake.own.ten_x", "mail.raw.x", "mail.dead.intake.ten_x",
		"$O.mail-raw.C.x", "$O.mail-raw.M.x", "$KV.mail-recipients.x", "fanmail.wake.outbox", "fanmail.ask.lane.wh_x",
	}
	for _, subject := range subjects {
		for _, body := range []string{`{"name":"FORGED","subjects":["forged.>"]}`, ""} {
			for _, header := range []nats.Header{{"Nats-Request-Info": {acc}}, {"Nats-Trace-Dest": {target}}, {"Nats-Msg-Id": {nats.NewInbox()}}, {}} {
				require.NoError(t, nc.PublishMsg(&nats.Msg{Subject: subject, Reply: target, Header: header, Data: []byte(body)}))
			}
		}
	}
	for _, name := range []string{stream.Events, stream.Deliveries, stream.Intake, stream.Dead, stream.Raw, stream.RawObjectsStream, "KV_" + stream.Recipients} {
		request("$JS.API.STREAM.INFO."+name, "")
		for _, q := range []string{`{"seq":1}`, `{"seq":999999}`, `{"seq":1,"batch":10,"next_by_subj":">"}`, `{"multi_last":[">"],"batch":10}`, `{"last_by_subj":"none"}`, `x`} {
			request("$JS.API.DIRECT.GET."+name, q)
			request("$JS.API.STREAM.MSG.GET."+name, q)
		}
		for _, subject := range append(subjects, "none") {
			request("$JS.API.DIRECT.GET."+name+"."+subject, "")
		}
	}
	for _, c := range []string{"MAIL_EVENTS.fanout", "DELIVERIES." + stream.PartitionConsumerName(0), "MAIL_INTAKE.intake", "MAIL_RAW.raw"} {
		request("$JS.API.CONSUMER.INFO."+c, "")
		for _, q := range []string{`{"batch":5,"no_wait":true}`, `{"batch":5,"expires":2000000}`, `{"batch":99999999}`, `{"batch":1,"expires":100000000,"idle_heartbeat":20000000}`, `x`} {
			request("$JS.API.CONSUMER.MSG.NEXT."+c, q)
		}
		for _, ack := range []string{"", "+ACK", "-NAK", "+NXT", `+NXT {"batch":5}`, "+WPI", "+TERM"} {
			request(fmt.Sprintf("$JS.ACK.%s.1.1.1.%d.0", c, time.Now().UnixNano()), ack)
		}
	}
	request("$JS.API.INFO", "")
	request("$JS.API.STREAM.NAMES", "")
	require.NoError(t, nc.Flush())
}

// TestAnAccountImportsNoMoreThanItsUserMayPublish: imports and exported streams are what an answer can reach.
func TestAnAccountImportsNoMoreThanItsUserMayPublish(t *testing.T) {
	t.Parallel()
	for _, user := range processUsers {
		all := account(t, user)
		require.NotContains(t, all, "jetstream", "a process's account has no streams")
		for _, i := range all["imports"].([]any) {
			service, ok := i.(map[string]any)["service"].(map[string]any)
			if ok {
				require.True(t, mayPublish(t, user, service["subject"].(string)), "account of %s imports %v", user, service)
			}
		}
		exports, _ := all["exports"].([]any)
		for _, e := range exports {
			if subject, ok := e.(map[string]any)["stream"].(string); ok {
				require.True(t, mayPublish(t, user, subject), "account of %s exports %s", user, subject)
			}
		}
		// Without this import the server adds one of the whole API.
		require.Contains(t, fmt.Sprint(all["imports"]), "$JS.API.INFO")
	}
	require.Len(t, fanmail(t)["users"], 1, "the account of the streams is the operator's alone")
}

func parsed(t *testing.T) map[string]any {
	t.Helper()
	all, err := conf.Parse(accounts(t))
	require.NoError(t, err)
	return all["accounts"].(map[string]any)
}

func fanmail(t *testing.T) map[string]any { return parsed(t)["FANMAIL"].(map[string]any) }

// account is the part of the configuration for a process's account.
func account(t *testing.T, user string) map[string]any {
	t.Helper()
	return parsed(t)[strings.ToUpper(user)].(map[string]any)
}

// mayPublish says whether the permissions of a process's user cover a subject, which may have wildcards.
func mayPublish(t *testing.T, user, subject string) bool {
	t.Helper()
	u := account(t, user)["users"].([]any)[0].(map[string]any)
	for _, p := range u["permissions"].(map[string]any)["publish"].([]any) {
		if covers(strings.Split(p.(string), "."), strings.Split(subject, ".")) {
			return true
		}
	}
	return false
}

func covers(pattern, subject []string) bool {
	for i, token := range pattern {
		switch {
		case i == len(subject):
			return false
		case token == ">":
			return true
		case token != subject[i] && (token != "*" || subject[i] == ">"):
			return false
		}
	}
	return len(pattern) == len(subject)
}

// TestHintsAndQuestionsCrossTheAccounts: a process hears what it heard when all were in one account.
func TestHintsAndQuestionsCrossTheAccounts(t *testing.T) {
	t.Parallel()
	as := guarded(t)
	conns := map[string]*nats.Conn{}
	for _, user := range append(slices.Clone(processUsers), "operator") {
		conns[user], _ = as(user)
	}
	again, _ := as("dispatcher")
	for _, h := range []struct{ from, subject, to string }{
		{"ingest", "fanmail.wake.outbox", "publisher"},
		{"api", "fanmail.wake.outbox", "publisher"},
		{"dispatcher", "fanmail.wake.outbox", "publisher"},
		{"api", "fanmail.wake.webhooks", "dispatcher"},
		{"api", "fanmail.wake.replays", "dispatcher"},
		{"api", "fanmail.wake.lane.3", "dispatcher"},
		{"ingest", "fanmail.wake.agents", "dispatcher"},
		{"dispatcher", "fanmail.wake.owners", "dispatcher"},
		{"dispatcher", "fanmail.wake.webhooks", "dispatcher"},
		{"api", "fanmail.wake.keys.key_x", "api"},
		{"publisher", "mail.events.ten_x.email.sent", "api"},
		{"dispatcher", "fanmail.wake.seen", "operator"},
	} {
		heard, err := conns[h.to].SubscribeSync(h.subject)
		require.NoError(t, err)
		require.NoError(t, conns[h.to].Flush())
		from := conns[h.from]
		if h.from == "dispatcher" && h.to == "dispatcher" {
			from = again
		}
		require.NoError(t, from.Publish(h.subject, []byte("x")))
		_, err = heard.NextMsgWithContext(t.Context())
		require.NoError(t, err, "%v", h)
		require.NoError(t, from.Flush())
		require.NoError(t, conns[h.to].Flush())
		n, _, err := heard.Pending()
		require.NoError(t, err)
		require.Zero(t, n, "%v comes once", h)
		require.NoError(t, heard.Unsubscribe())
	}
	_, err := conns["dispatcher"].Subscribe("fanmail.ask.lane.*", func(m *nats.Msg) { _ = m.Respond([]byte("answer")) })
	require.NoError(t, err)
	require.NoError(t, conns["dispatcher"].Flush())
	answer, err := conns["api"].RequestWithContext(t.Context(), "fanmail.ask.lane.wh_x", nil)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer.Data))
}
