package dispatch_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// customers is a broker that is not Fanmail's, with an account for each of two tenants.
const customers = `
accounts {
  A { jetstream: enabled, users: [ {user: a, password: "secret-a"} ] }
  B { jetstream: enabled, users: [ {user: b, password: "secret-b"} ] }
  SYS { users: [ {user: sys, password: sys} ] }
}
system_account: SYS
`

// atBroker creates a webhook of kind nats.
func (r *rig) atBroker(tenant events.TenantID, broker, user string, settings ...func(*subscribers.Webhook)) (events.WebhookID, string) {
	r.t.Helper()
	store := subscribers.NewStore(r.pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	w := subscribers.Webhook{
		Kind: subscribers.KindNATS, URL: broker, Subject: "mail.in", Events: []events.Type{events.EmailReceived}, Enabled: true,
		Auth: &subscribers.Auth{Type: subscribers.AuthBasic, Username: user, Password: "secret-" + user},
	}
	for _, f := range settings {
		f(&w)
	}
	made, secret, err := store.Create(r.t.Context(), tenant, w)
	require.NoError(r.t, err)
	require.NoError(r.t, r.nc.Publish(events.WakeWebhooks, nil))
	return made.ID, secret
}

// streamOf makes an account's stream.
func (r *rig) streamOf(broker, user string, change ...func(*jetstream.StreamConfig)) jetstream.Stream {
	r.t.Helper()
	nc, err := nats.Connect(broker, nats.UserInfo(user, "secret-"+user))
	require.NoError(r.t, err)
	r.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(r.t, err)
	config := jetstream.StreamConfig{Name: "IN", Subjects: []string{"mail.in"}}
	for _, f := range change {
		f(&config)
	}
	s, err := js.CreateOrUpdateStream(r.t.Context(), config)
	require.NoError(r.t, err)
	return s
}

func TestDeliveriesArePublishedSignedInTheirTenantsAccountAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	broker, _ := natstest.Configured(t, customers)
	streams := map[string]jetstream.Stream{"a": r.streamOf(broker, "a"), "b": r.streamOf(broker, "b")}
	other := events.NewRandom[events.TenantKind]()
	r.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'other')`, other)
	tenants, secrets := map[string]events.TenantID{"a": r.tenant, "b": other}, map[string]string{}
	for user, tenant := range tenants {
		_, secrets[user] = r.atBroker(tenant, broker, user)
	}
	r.dispatcher()
	r.relay()
	const n = 20
	ids := map[string][]events.ID{}
	for user, tenant := range tenants {
		ids[user] = r.insert(n, func(_ int, e *events.Event) { e.TenantID = tenant })
	}
	r.settles(map[string]int{"delivered": 2 * n})
	for user, s := range streams {
		info, err := s.Info(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, n, info.State.Msgs)
		got := map[string]bool{}
		for seq := range uint64(n) {
			m, err := s.GetMsg(t.Context(), seq+1)
			require.NoError(t, err)
			require.NoError(t, signature.Verify(secrets[user], http.Header(m.Header), m.Data, time.Now(), 0), "the headers of a POST")
			require.Equal(t, m.Header.Get("Webhook-Id"), m.Header.Get("Nats-Msg-Id"))
			require.Equal(t, strconv.Itoa(1), m.Header.Get("Fanmail-Attempt"))
			require.Empty(t, m.Header.Get("Authorization"))
			got[m.Header.Get("Webhook-Id")] = true
		}
		for _, id := range ids[user] {
			require.True(t, got[id.String()])
		}
	}
}

func TestAFullStreamAndABrokerThatIsAwayAreTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir, config := t.TempDir(), filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(config, []byte(customers), 0o600))
	start := func(port int) *devserver.NATS {
		s, err := devserver.StartNATS(devserver.NATSOptions{Dir: dir, Config: config, Port: port, MaxStore: natstest.MaxStore})
		require.NoError(t, err)
		return s
	}
	s := start(0)
	broker := s.URL()
	t.Cleanup(func() { s.Stop() })
	u, err := url.Parse(broker)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	limited := func(most int64) func(*jetstream.StreamConfig) {
		return func(c *jetstream.StreamConfig) {
			c.MaxMsgs, c.Discard, c.Duplicates = most, jetstream.DiscardNew, time.Minute
		}
	}
	r.streamOf(broker, "a", limited(1))
	full, _ := r.atBroker(r.tenant, broker, "a", func(w *subscribers.Webhook) { w.Filters.Labels = []string{"full"} })
	away, _ := r.atBroker(r.tenant, broker, "a", func(w *subscribers.Webhook) { w.Filters.Labels = []string{"away"} })
	_, err = r.streamPublish(broker, "a")
	require.NoError(t, err)
	r.dispatcher()
	r.relay()

	r.insert(1, func(_ int, e *events.Event) { e.Labels = []string{"full"} })
	v := r.until(full, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	require.Equal(t, "the broker answered: maximum messages exceeded (error 10077)", *v.Error)
	require.Equal(t, 503, *v.Code)
	require.InDelta(t, 60, *v.NextIn, 10)
	r.streamOf(broker, "a", limited(100))
	r.makeDue(full)
	v = r.until(full, func(v row) bool { return v.Finished })
	require.Equal(t, "delivered", v.Status)
	require.True(t, v.Delivered)

	s.Stop()
	r.insert(1, func(_ int, e *events.Event) { e.Labels = []string{"away"} })
	v = r.until(away, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	require.Equal(t, "the endpoint refused the connection", *v.Error)
	s = start(port)
	r.makeDue(away)
	v = r.until(away, func(v row) bool { return v.Finished })
	require.Equal(t, "delivered", v.Status)
	require.Equal(t, 2, v.Attempts)
	info, err := r.streamOf(broker, "a", limited(100)).Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, info.State.Msgs)
}

// streamPublish fills an account's stream by a message.
func (r *rig) streamPublish(broker, user string) (*jetstream.PubAck, error) {
	nc, err := nats.Connect(broker, nats.UserInfo(user, "secret-"+user))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return js.Publish(r.t.Context(), "mail.in", []byte("x"))
}

// connections is how many connections Fanmail has to the account A of a broker.
func (r *rig) connections(broker string) func() int {
	r.t.Helper()
	nc, err := nats.Connect(broker, nats.UserInfo("sys", "sys"))
	require.NoError(r.t, err)
	r.t.Cleanup(nc.Close)
	return func() (n int) {
		r.t.Helper()
		m, err := nc.Request("$SYS.REQ.ACCOUNT.A.CONNZ", nil, 20*time.Second)
		require.NoError(r.t, err)
		var answer struct {
			Data struct {
				Connections []struct{ Name string } `json:"connections"`
			} `json:"data"`
		}
		require.NoError(r.t, json.Unmarshal(m.Data, &answer))
		for _, c := range answer.Data.Connections {
			if c.Name == "Fanmail" {
				n++
			}
		}
		return n
	}
}

func TestRefusedCredentialsAreTriedAgainAndAWebhookThatIsGoneKeepsNoConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	broker, _ := natstest.Configured(t, customers)
	stream := r.streamOf(broker, "a")
	open := r.connections(broker)
	wrong := func(w *subscribers.Webhook) { w.Auth.Password = "hunter2" }
	id, _ := r.atBroker(r.tenant, broker, "a", wrong)
	beside, _ := r.atBroker(r.tenant, broker, "a")
	r.dispatcher()
	r.relay()
	r.insert(1)
	v := r.until(id, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "pending", v.Status)
	require.Equal(t, "the broker refused the credentials", *v.Error)
	require.InDelta(t, 60, *v.NextIn, 10)
	require.Equal(t, "delivered", r.until(beside, func(v row) bool { return v.Finished }).Status)

	store := subscribers.NewStore(r.pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	auth := &subscribers.Auth{Type: subscribers.AuthBasic, Username: "a", Password: "secret-a"}
	_, err := store.Update(t.Context(), r.tenant, id, subscribers.Patch{Auth: auth})
	require.NoError(t, err)
	require.NoError(t, r.nc.Publish(events.WakeWebhooks, nil))
	// The next attempt may come before the change is read: it is refused as well then.
	require.Eventually(t, func() bool {
		r.makeDue(id)
		return r.until(id, func(row) bool { return true }).Finished
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, "delivered", r.until(id, func(v row) bool { return v.Finished }).Status)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, info.State.Msgs, "both have the event's id")
	require.Equal(t, 1, open(), "they share one")

	require.NoError(t, store.Delete(t.Context(), r.tenant, id))
	require.NoError(t, r.nc.Publish(events.WakeWebhooks, nil))
	require.NoError(t, store.Delete(t.Context(), r.tenant, beside))
	require.NoError(t, r.nc.Publish(events.WakeWebhooks, nil))
	require.Eventually(t, func() bool { return open() == 0 }, time.Minute, 10*time.Millisecond)
}
