package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

// clusterNode starts a server with deploy/nats/cluster.conf, moved to loopback and changed by change.
func clusterNode(t *testing.T, name string, port int, change func(config string) string) *server.Server {
	t.Helper()
	config, err := os.ReadFile("../../deploy/nats/cluster.conf")
	require.NoError(t, err)
	dir := t.TempDir()
	accounts, err := os.ReadFile("../../deploy/nats/accounts.conf")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "accounts.conf"), accounts, 0o600))
	text := string(config)
	replace := []string{"0.0.0.0:4222", "127.0.0.1:-1", "0.0.0.0:8222", "127.0.0.1:-1", "0.0.0.0:6222", fmt.Sprintf("127.0.0.1:%d", port), "/data", dir, "$NATS_NAME", name}
	text = change(strings.NewReplacer(replace...).Replace(text))
	file := filepath.Join(dir, "cluster.conf")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	o, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(time.Minute))
	return s
}

// TestAServerWithoutThePasswordDoesNotJoinTheCluster: a server that joins sees every subject, past the users' permissions.
func TestAServerWithoutThePasswordDoesNotJoinTheCluster(t *testing.T) {
	for _, user := range []string{"PUBLISHER", "DISPATCHER", "INGEST", "EDGE", "API", "OPERATOR", "ROUTE"} {
		t.Setenv("FANMAIL_NATS_"+user+"_PASSWORD", "p-"+user)
	}
	var ports []int
	for range 4 {
		p, err := freeport.Find()
		require.NoError(t, err)
		ports = append(ports, p)
	}
	t.Setenv("FANMAIL_NATS_ROUTES", fmt.Sprintf("[nats://route:p-ROUTE@127.0.0.1:%d, nats://route:p-ROUTE@127.0.0.1:%d, nats://route:p-ROUTE@127.0.0.1:%d]", ports[0], ports[1], ports[2]))
	same := func(config string) string { return config }
	var servers []*server.Server
	for i := range 3 {
		servers = append(servers, clusterNode(t, fmt.Sprintf("nats-%d", i), ports[i], same))
	}
	require.Eventually(t, func() bool { return servers[0].NumRoutes() > 0 && servers[2].NumRoutes() > 0 }, time.Minute, 20*time.Millisecond,
		"the servers with the password are a cluster")
	intruder := clusterNode(t, "nats-9", ports[3], func(config string) string {
		config = strings.ReplaceAll(config, "$FANMAIL_NATS_ROUTE_PASSWORD", "guess")
		return strings.ReplaceAll(config, "$FANMAIL_NATS_ROUTES", fmt.Sprintf("[nats://route:guess@127.0.0.1:%d]", ports[0]))
	})
	spy, err := nats.Connect(intruder.ClientURL(), nats.UserInfo("operator", "p-OPERATOR"))
	require.NoError(t, err)
	t.Cleanup(spy.Close)
	heard, err := spy.SubscribeSync("mail.intake.>")
	require.NoError(t, err)
	require.NoError(t, spy.Flush())
	inside, err := nats.Connect(servers[0].ClientURL(), nats.UserInfo("operator", "p-OPERATOR"))
	require.NoError(t, err)
	t.Cleanup(inside.Close)
	require.Never(t, func() bool {
		_ = inside.Publish("mail.intake.ten_1", []byte("secret"))
		n, _, err := heard.Pending()
		return err != nil || n > 0 || intruder.NumRoutes() > 0
	}, 3*time.Second, 50*time.Millisecond)
}
