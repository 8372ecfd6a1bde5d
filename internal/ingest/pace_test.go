package ingest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAMailMustKeepTheMinimumRate(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var p pace
	p.begin(start)
	require.Equal(t, start.Add(time.Minute), p.deadline())
	p.add(1<<20, time.Second, start.Add(time.Second))
	require.Equal(t, start.Add(time.Minute+1024*time.Second), p.deadline())

	// The connection's deadline follows it: no later one is set.
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	c := newConn(server, &client1, connOptions{window: time.Second, closed: func(*conn) {}})
	defer time.AfterFunc(20*time.Second, func() { _ = client.Close() }).Stop()
	c.startTransfer(start.Add(time.Hour))
	c.pace.begin(start.Add(-2 * time.Minute))
	c.await(start.Add(time.Hour))
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
}

var client1 client

// A rate is that of the last seconds: what a client sent fast at first does not help it later.
func TestASlowTransferIsFoundHoweverItBegan(t *testing.T) {
	t.Parallel()
	start := time.Now()
	for name, tc := range map[string]struct {
		bytes func(second int) int
		slow  bool
	}{
		"stalled from the start": {func(int) int { return 0 }, true},
		"a burst, then nothing":  {func(i int) int { return max(0, 36<<20*(1-i)) }, true},
		"a burst, then a drip": {func(i int) int {
			if i == 0 {
				return 36 << 20
			}
			return 1
		}, true},
		"steady": {func(int) int { return 32 << 10 }, false},
	} {
		var p pace
		p.begin(start)
		for i := range 10 {
			if n := tc.bytes(i); n > 0 {
				p.add(n, time.Second, start.Add(time.Duration(i)*time.Second))
			}
		}
		_, slow := p.slow(time.Second, start.Add(9*time.Second+time.Millisecond))
		require.Equal(t, tc.slow, slow, name)
	}
	var fresh pace
	fresh.begin(start)
	_, slow := fresh.slow(time.Second, start.Add(time.Millisecond))
	require.False(t, slow, "a transfer that has just begun")
}

func TestErrorsOfAClientAddUpOverItsConnections(t *testing.T) {
	t.Parallel()
	cs := clients{}
	address := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s), 1)) }
	require.Same(t, cs.get(address("192.0.2.1")), cs.get(address("::ffff:192.0.2.1")))
	require.NotSame(t, cs.get(address("192.0.2.1")), cs.get(address("192.0.2.2")))
	one := cs.get(address("2001:db8:1:2::1"))
	require.Same(t, one, cs.get(address("2001:db8:1:2:ffff::1")), "a /64 is one client")
	require.NotSame(t, one, cs.get(address("2001:db8:1:3::1")))
	for range int(errorLimit.burst) {
		require.False(t, one.failed())
	}
	require.Eventually(t, one.failed, time.Minute, time.Microsecond)

	now := time.Now()
	var d debt
	require.True(t, d.add(300, errorLimit, now))
	require.False(t, d.add(0, errorLimit, now.Add(20*time.Second)), "a debt falls with time")
	require.False(t, one.idle(now))
	require.True(t, one.idle(now.Add(time.Hour)))
}

// After an outage the clients that came again and again are not delayed.
func TestFailuresOfTheServerAreNotChargedToTheClient(t *testing.T) {
	t.Parallel()
	cl := &client{}
	for range 10 * int(commandLimit.burst) {
		c := newConn(nil, cl, connOptions{maxCommands: 1000})
		c.judge('2')
		c.judge('2')
		c.excuse()
		c.judge('4')
	}
	require.False(t, cl.commanded(0))
	for range int(commandLimit.burst) {
		c := newConn(nil, cl, connOptions{maxCommands: 1000})
		for range 4 {
			c.judge('2')
		}
		c.accepted()
		c.judge('2')
	}
	require.False(t, cl.commanded(0))
	for range int(commandLimit.burst) {
		newConn(nil, cl, connOptions{maxCommands: 1000}).judge('2')
	}
	require.Eventually(t, func() bool { return cl.commanded(1) }, time.Minute, time.Microsecond)
}

func TestTheMemoryOfClientsIsBounded(t *testing.T) {
	t.Parallel()
	cs := clients{}
	for i := range 3 * maxClients {
		c := cs.get(&net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i))})
		c.failed()
		require.LessOrEqual(t, len(cs), maxClients)
	}
}
