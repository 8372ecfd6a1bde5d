package e2e_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// routeCertificates runs deploy/nats/certificates.sh and returns its folder.
func routeCertificates(t *testing.T, hosts ...string) string {
	t.Helper()
	dir := t.TempDir()
	for range 2 { // a second run changes nothing
		out, err := exec.CommandContext(t.Context(), "../../deploy/nats/certificates.sh", append([]string{dir}, hosts...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	return dir
}

// clusterNode starts a server with deploy/nats/cluster.conf as it stands, with the environment that the file asks for.
// Clients reach it on loopback, and change changes its options.
func clusterNode(t *testing.T, name, host string, port int, certificates string, change func(*server.Options)) *server.Server {
	t.Helper()
	t.Setenv("NATS_NAME", name)
	t.Setenv("FANMAIL_NATS_ROUTE_LISTEN", fmt.Sprintf("%s:%d", host, port))
	t.Setenv("FANMAIL_NATS_ROUTE_CERT", filepath.Join(certificates, host, "tls.crt"))
	t.Setenv("FANMAIL_NATS_ROUTE_KEY", filepath.Join(certificates, host, "tls.key"))
	t.Setenv("FANMAIL_NATS_ROUTE_CA", filepath.Join(certificates, host, "ca.crt"))
	o, err := server.ProcessConfigFile("../../deploy/nats/cluster.conf")
	require.NoError(t, err)
	o.Host, o.Port, o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "127.0.0.1", server.RANDOM_PORT
	o.StoreDir, o.JetStreamMaxStore, o.NoSigs, o.NoLog = t.TempDir(), natstest.MaxStore, true, true
	change(o)
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

// peers are the names of the servers that a server has routes with.
func peers(t *testing.T, s *server.Server) map[string]bool {
	t.Helper()
	z, err := s.Routez(nil)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, r := range z.Routes {
		names[r.RemoteName] = true
	}
	return names
}

// listener subscribes, as the operator of the server's own account, to what must not leave the cluster.
func listener(t *testing.T, s *server.Server) *nats.Subscription {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("operator", "p-OPERATOR"))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	heard, err := nc.SubscribeSync("mail.intake.>")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	return heard
}

// TestAServerWithoutPasswordAndCertificateDoesNotJoinTheCluster: a server that joins sees every subject, past the users'
// permissions. The cluster's servers know the addresses of the intruders as routes, so either side connects.
func TestAServerWithoutPasswordAndCertificateDoesNotJoinTheCluster(t *testing.T) {
	for _, user := range []string{"PUBLISHER", "DISPATCHER", "INGEST", "EDGE", "API", "OPERATOR"} {
		t.Setenv("FANMAIL_NATS_"+user+"_PASSWORD", "p-"+user)
	}
	t.Setenv("FANMAIL_NATS_ROUTE_PASSWORD", "p-ROUTE")
	hosts := []string{"127.0.0.1", "localhost", "127.0.0.1"}
	intruders := []struct {
		name   string
		ours   bool // its certificate is of the cluster's authority
		change func(*server.Options)
	}{
		{"another-authority", false, func(*server.Options) {}},
		{"no-certificate", true, func(o *server.Options) { o.Cluster.TLSConfig = nil }},
		{"another-password", true, func(o *server.Options) {
			o.Cluster.Password = "guess"
			for _, u := range o.Routes {
				u.User = nil
			}
		}},
	}
	var ports []int
	var routes []string
	for i := range len(hosts) + len(intruders) {
		p, err := freeport.Find()
		require.NoError(t, err)
		ports = append(ports, p)
		host := "127.0.0.1"
		if i < len(hosts) {
			host = hosts[i]
		}
		routes = append(routes, fmt.Sprintf("nats://route:p-ROUTE@%s:%d", host, p))
	}
	t.Setenv("FANMAIL_NATS_ROUTES", "["+strings.Join(routes, ", ")+"]")

	certificates := routeCertificates(t, hosts...)
	var servers []*server.Server
	for i, host := range hosts {
		servers = append(servers, clusterNode(t, fmt.Sprintf("nats-%d", i), host, ports[i], certificates, func(*server.Options) {}))
	}
	require.Eventually(t, func() bool {
		return len(peers(t, servers[0])) == 2 && len(peers(t, servers[1])) == 2 && len(peers(t, servers[2])) == 2
	}, time.Minute, 20*time.Millisecond, "the servers with password and certificate are a cluster")
	seen, err := servers[0].Varz(nil)
	require.NoError(t, err)
	require.True(t, seen.Cluster.TLSRequired && seen.Cluster.TLSVerify, "an operator sees it at /varz")
	inside := listener(t, servers[2])
	var outside []*nats.Subscription
	var joined []*server.Server
	for i, in := range intruders {
		of := certificates
		if !in.ours {
			of = routeCertificates(t, "127.0.0.1")
		}
		s := clusterNode(t, in.name, "127.0.0.1", ports[len(hosts)+i], of, in.change)
		joined, outside = append(joined, s), append(outside, listener(t, s))
	}
	nc, err := nats.Connect(servers[0].ClientURL(), nats.UserInfo("operator", "p-OPERATOR"))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	require.Eventually(t, func() bool {
		require.NoError(t, nc.Publish("mail.intake.ten_1", []byte("secret")))
		n, _, err := inside.Pending()
		return err == nil && n > 0
	}, time.Minute, 20*time.Millisecond, "the third server hears what the first is told")
	require.Never(t, func() bool {
		_ = nc.Publish("mail.intake.ten_1", []byte("secret"))
		for i, s := range joined {
			if n, _, err := outside[i].Pending(); err != nil || n > 0 || len(peers(t, s)) > 0 {
				t.Logf("%s joined", intruders[i].name)
				return true
			}
		}
		return false
	}, 3*time.Second, 50*time.Millisecond)
}
