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

// hostile are addresses that no webhook may reach.
var hostile = []string{
	"127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
	"224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
	"::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
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
	tr := newTransport(nil, nil, dnsServer)
	t.Cleanup(tr.CloseIdleConnections)
	for n, h := range hostile {
		addr := netip.MustParseAddr(h)
		require.False(t, Reachable(nil, addr), h)
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
	require.True(t, Reachable(nil, netip.MustParseAddr("93.184.216.34")))
	require.True(t, Reachable(nil, netip.MustParseAddr("2606:4700:4700::1111")))
	require.True(t, Reachable(nil, netip.MustParseAddr("::ffff:93.184.216.34")), "it is the IPv4 address that would be dialled")
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
	tr := newTransport(nil, nil, rebinding)
	t.Cleanup(tr.CloseIdleConnections)
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
		six := newTransport([]netip.Prefix{netip.MustParsePrefix("::1/128")}, nil, fickle)
		require.NotEmpty(t, get(t, six, "http://rebind.example:"+port+"/"))
		six.CloseIdleConnections()
	}
	require.Zero(t, s.Count())

	// The operator's networks are reached, by the same way.
	allowed := newTransport([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, nil, rebinding)
	t.Cleanup(allowed.CloseIdleConnections)
	require.Empty(t, get(t, allowed, "http://rebind.example:"+port+"/"))
	require.Equal(t, 1, s.Count())
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	t.Parallel()
	require.Nil(t, NewTransport(nil, nil).Proxy)
}
