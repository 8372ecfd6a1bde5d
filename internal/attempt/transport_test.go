package attempt

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/dnstest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// loopback is what tests allow.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// transportFor is a transport of one poster.
func transportFor(t *testing.T, c Config, r *net.Resolver) *http.Transport {
	t.Helper()
	tr := newTransport(newDialer(&c, r), 16)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// hostile are addresses that no webhook may reach.
var hostile = []string{
	"127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
	"224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
	"::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
	"168.63.129.16", "192.0.0.192", "169.254.170.2", "fd20:ce::254", "2a01:111::5efe:10.0.0.1", "2a01:111::200:5efe:808:808", "64:ff9b:1::a00:1",
	"::ffff:0:808:808", "::8.8.8.8", "192.88.99.1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
	"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1", "2001::1",
}

// resolver answers every name with the addresses that f gives.
func resolver(t *testing.T, f func(name string) []netip.Addr) *net.Resolver {
	t.Helper()
	addr, _ := dnstest.ServeFunc(t, func(name, kind string) ([]string, bool) {
		var records []string
		for _, a := range f(strings.TrimSuffix(name, ".")) {
			if a.Is4() == (kind == "A") {
				records = append(records, a.String())
			}
		}
		return records, true
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", addr)
	}}
}

// get asks for a URL and gives why it could not be had; "" where it could.
func get(t *testing.T, tr *http.Transport, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		reason, _ := describe(err)
		return reason
	}
	_ = resp.Body.Close()
	return ""
}

func TestNothingThatIsNotPublicIsDialled(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL(""), "http://"))
	require.NoError(t, err)
	// A name that stands for each, as a tenant's own DNS server answers.
	dnsServer := resolver(t, func(name string) []netip.Addr {
		label, _, _ := strings.Cut(name, ".")
		n, err := strconv.Atoi(strings.TrimPrefix(label, "a"))
		if err != nil || !strings.HasPrefix(label, "a") {
			return nil
		}
		return []netip.Addr{netip.MustParseAddr(hostile[n])}
	})
	tr := transportFor(t, Config{}, dnsServer)
	for n, h := range hostile {
		addr := netip.MustParseAddr(h)
		require.False(t, Guard{}.Reachable(addr), h)
		require.Equal(t, ReasonBlocked, get(t, tr, "http://"+net.JoinHostPort(h, port)+"/"), h)
		if !addr.Is4In6() { // no server's answer of four bytes in sixteen is kept apart from one of four
			require.Equal(t, ReasonBlocked, get(t, tr, "http://a"+strconv.Itoa(n)+".hooks.example:"+port+"/"), "a name for %s", h)
		}
	}
	// What is no address is a name, which nobody has.
	for _, odd := range []string{"2130706433", "0177.0.0.1", "0x7f.1", "127.1", "localhost.", "localhost"} {
		require.Contains(t, []string{ReasonBlocked, ReasonDNS}, get(t, tr, "http://"+odd+":"+port+"/"), odd)
	}
	require.Zero(t, s.Count())
	require.True(t, Guard{}.Reachable(netip.MustParseAddr("93.184.216.34")))
	require.True(t, Guard{}.Reachable(netip.MustParseAddr("2606:4700:4700::1111")))
	require.True(t, Guard{}.Reachable(netip.MustParseAddr("::ffff:93.184.216.34")), "it is the IPv4 address that would be dialled")
}

func TestANameThatChangesItsMindGainsNothing(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL(""), "http://"))
	require.NoError(t, err)
	var asked atomic.Int32
	rebinding := resolver(t, func(string) []netip.Addr {
		if asked.Add(1) <= 2 { // A and AAAA: what a check beforehand would see
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})
	_, err = rebinding.LookupNetIP(t.Context(), "ip", "rebind.example")
	require.NoError(t, err)
	tr := transportFor(t, Config{}, rebinding)
	require.Equal(t, ReasonBlocked, get(t, tr, "http://rebind.example:"+port+"/"))
	require.Zero(t, s.Count())

	// Nor does one that changes its mind between a look and the dialling, which
	// would ask again: the address that is allowed here has no listener.
	for looks := range int32(5) {
		var asked atomic.Int32
		fickle := resolver(t, func(string) []netip.Addr {
			if asked.Add(1) <= looks {
				return []netip.Addr{netip.IPv6Loopback()}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		})
		six := transportFor(t, Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("::1/128")}}, fickle)
		require.NotEmpty(t, get(t, six, "http://rebind.example:"+port+"/"))
	}
	require.Zero(t, s.Count())

	// The operator's networks are reached, by the same way.
	allowed := transportFor(t, Config{AllowNetworks: loopback}, rebinding)
	require.Empty(t, get(t, allowed, "http://rebind.example:"+port+"/"))
	require.Equal(t, 1, s.Count())
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	t.Parallel()
	require.Nil(t, transportFor(t, Config{}, nil).Proxy)
}

// An operator who runs NAT64, or a network round a metadata address, allows neither
// what lies behind the one nor the other.
func TestAnAllowedNetworkDoesNotCoverADeniedAddress(t *testing.T) {
	t.Parallel()
	g := func(networks ...string) Guard {
		var g Guard
		for _, n := range networks {
			g.Networks = append(g.Networks, netip.MustParsePrefix(n))
		}
		return g
	}
	nat64 := g("64:ff9b::/96")
	require.True(t, nat64.Reachable(netip.MustParseAddr("64:ff9b::808:808")))
	require.False(t, nat64.Reachable(netip.MustParseAddr("64:ff9b::a9fe:a9fe")))
	require.False(t, nat64.Reachable(netip.MustParseAddr("64:ff9b::7f00:1")))
	require.True(t, g("64:ff9b::/96", "127.0.0.0/8").Reachable(netip.MustParseAddr("64:ff9b::7f00:1")))
	require.False(t, g("::/0").Reachable(netip.MustParseAddr("2002:7f00:1::")))
	require.False(t, g("100.64.0.0/10", "0.0.0.0/0").Reachable(netip.MustParseAddr("100.100.100.200")))
	require.False(t, g("0.0.0.0/0").Reachable(netip.MustParseAddr("::ffff:168.63.129.16")))
	require.True(t, g("100.64.0.0/10").Reachable(netip.MustParseAddr("100.64.0.1")))
	require.True(t, g("100.100.100.200/32").Reachable(netip.MustParseAddr("100.100.100.200")))
}

func TestPrivilegedPortsAreNotDialled(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"1", "22", "25", "1023"} {
		require.Equal(t, ReasonBlocked, get(t, transportFor(t, Config{AllowNetworks: loopback}, nil), "http://127.0.0.1:"+port+"/"), port)
	}
	allowed := transportFor(t, Config{AllowNetworks: loopback, AllowPorts: []uint16{1}}, nil)
	require.Equal(t, ReasonRefused, get(t, allowed, "http://127.0.0.1:1/"), "it is dialled, and nobody listens")
}
