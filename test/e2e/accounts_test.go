package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// TestProcessesReachTheStreamsOfAClusterFromTheirAccounts: each process is at another server than the leader of what it
// asks for. It publishes, takes, acknowledges and reads, and the processes' hints and questions arrive.
func TestProcessesReachTheStreamsOfAClusterFromTheirAccounts(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("the test of accounts took too long"))
	t.Cleanup(cancel)
	for _, user := range []string{"PUBLISHER", "DISPATCHER", "INGEST", "EDGE", "API", "OPERATOR"} {
		t.Setenv("FANMAIL_NATS_"+user+"_PASSWORD", "p-"+user)
	}
	t.Setenv("FANMAIL_NATS_ROUTE_PASSWORD", "p-ROUTE")
	var ports []int
	var routes []string
	for range 3 {
		p, err := freeport.Find()
		require.NoError(t, err)
		ports, routes = append(ports, p), append(routes, fmt.Sprintf("nats://route:p-ROUTE@127.0.0.1:%d", p))
	}
	t.Setenv("FANMAIL_NATS_ROUTES", "["+strings.Join(routes, ", ")+"]")
	certificates := routeCertificates(t, "127.0.0.1")
	var servers []*server.Server
	for i, p := range ports {
		servers = append(servers, clusterNode(t, fmt.Sprintf("nats-%d", i), "127.0.0.1", p, certificates, func(*server.Options) {}))
	}
	connect := func(i int, user string) (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect(servers[i].ClientURL(), nats.UserInfo(user, "p-"+strings.ToUpper(user)), nats.CustomInboxPrefix("_INBOX_"+user))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		require.NoError(t, err)
		return nc, js
	}
	_, operator := connect(0, "operator")
	require.Eventually(t, func() bool {
		attempt, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		_, err := operator.AccountInfo(attempt)
		return err == nil
	}, time.Minute, 50*time.Millisecond, "the cluster has a leader")
	require.NoError(t, stream.EnsureAll(ctx, operator, stream.Options{Replicas: 3}))
	events, err := operator.Stream(ctx, stream.Events)
	require.NoError(t, err)
	leader := 0
	for i, s := range servers {
		if s.Name() == events.CachedInfo().Cluster.Leader {
			leader = i
		}
	}
	near, far := (leader+1)%3, (leader+2)%3
	publishes, publisher := connect(near, "publisher")
	asked, dispatcher := connect(far, "dispatcher")
	asks, api := connect(near, "api")

	const n = 200
	for i := range n { // a batch, of which the broker answers the last message alone
		m := &nats.Msg{Subject: "mail.events.ten_x.email.sent", Data: []byte(strconv.Itoa(i)), Header: nats.Header{
			"Nats-Batch-Id": {"batch"}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)},
		}}
		if i < n-1 {
			require.NoError(t, publishes.PublishMsg(m))
			continue
		}
		m.Header.Set("Nats-Batch-Commit", "1")
		_, err = publisher.PublishMsg(ctx, m)
		require.NoError(t, err)
	}
	fanout, err := dispatcher.Consumer(ctx, stream.Events, stream.Fanout)
	require.NoError(t, err)
	taken := 0
	group := fanout.CachedInfo().Config.PriorityGroups
	options := []jetstream.FetchOpt{jetstream.FetchMaxWait(time.Minute), jetstream.FetchHeartbeat(5 * time.Second)}
	if len(group) > 0 {
		options = append(options, jetstream.FetchPriorityGroup(group[0]))
	}
	got, err := fanout.Fetch(n, options...)
	require.NoError(t, err)
	for m := range got.Messages() {
		require.NoError(t, m.DoubleAck(ctx))
		taken++
	}
	require.NoError(t, got.Error())
	require.Equal(t, n, taken)
	require.Eventually(t, func() bool { // replicas answer too
		page, err := stream.Read(ctx, api, stream.Page{Stream: stream.Events, Subject: "mail.events.>", Limit: n})
		return err == nil && len(page) == n
	}, time.Minute, 50*time.Millisecond)

	hints, err := publishes.SubscribeSync("fanmail.wake.outbox")
	require.NoError(t, err)
	changes, err := asked.SubscribeSync("fanmail.wake.webhooks")
	require.NoError(t, err)
	_, err = asked.Subscribe("fanmail.ask.lane.*", func(m *nats.Msg) { _ = m.Respond([]byte("lane")) })
	require.NoError(t, err)
	tailed, err := asks.SubscribeSync("mail.events.*.>")
	require.NoError(t, err)
	for _, nc := range []*nats.Conn{publishes, asked, asks} {
		require.NoError(t, nc.Flush())
	}
	require.Eventually(t, func() bool { // the servers learn of subscriptions with time
		_, err := asks.Request("fanmail.ask.lane.wh_x", nil, time.Second)
		require.NoError(t, errors.Join(asks.Publish("fanmail.wake.webhooks", nil), asked.Publish("fanmail.wake.outbox", nil)))
		_, perr := publisher.Publish(ctx, "mail.events.ten_x.email.sent", []byte("x"))
		require.NoError(t, perr)
		for _, s := range []*nats.Subscription{hints, changes, tailed} {
			if waiting, _, perr := s.Pending(); perr != nil || waiting == 0 {
				return false
			}
		}
		return err == nil
	}, time.Minute, 50*time.Millisecond)
}
