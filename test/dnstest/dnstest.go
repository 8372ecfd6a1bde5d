// Package dnstest starts DNS servers for tests: real ones, over UDP and TCP on
// the loopback, that answer from a list and fail on demand.
package dnstest

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// Zone is what a server answers, by lower-case name and type, "name. TXT". A
// value is records without owner and type, or one of the failures. What it does
// not know does not exist.
type Zone map[string][]string

// What stands first in a value in place of records.
const (
	ServFail = "SERVFAIL"
	Refused  = "REFUSED"
	Silence  = "no answer at all"
	OverTCP  = "truncated over UDP" // the records follow
)

// Serve answers over UDP and TCP on one loopback port until the test ends.
// asked counts the questions.
func Serve(t testing.TB, z Zone) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		name, kind := strings.ToLower(q.Question[0].Name), dns.TypeToString[q.Question[0].Qtype]
		records, known := z[name+" "+kind]
		if len(records) > 0 {
			switch records[0] {
			case ServFail:
				m.Rcode, records = dns.RcodeServerFailure, nil
			case Refused:
				m.Rcode, records = dns.RcodeRefused, nil
			case Silence:
				return
			case OverTCP:
				records = records[1:]
				if w.RemoteAddr().Network() == "udp" {
					m.Truncated, records = true, nil
				}
			}
		}
		if !known {
			m.Rcode = dns.RcodeNameError
			for have := range z {
				if strings.HasPrefix(have, name+" ") {
					m.Rcode = dns.RcodeSuccess // the name exists, without this type
				}
			}
		}
		for _, r := range records {
			if kind == "TXT" {
				rr := &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}}
				for len(r) > 255 {
					rr.Txt, r = append(rr.Txt, r[:255]), r[255:]
				}
				rr.Txt = append(rr.Txt, r)
				m.Answer = append(m.Answer, rr)
				continue
			}
			rr, err := dns.NewRR(q.Question[0].Name + " 1 IN " + kind + " " + r)
			if err != nil {
				t.Errorf("the zone's %s: %v", name, err)
				continue
			}
			m.Answer = append(m.Answer, rr)
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(m)
	})
	tcp, udp := listen(t)
	for _, s := range []*dns.Server{{Listener: tcp, Handler: answer}, {PacketConn: udp, Handler: answer}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.ActivateAndServe() // ends with Shutdown
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return tcp.Addr().String(), asked
}

// listen opens one port for both. A port that is free for TCP may be a
// client's for UDP; then another is tried.
func listen(t testing.TB) (tcp net.Listener, udp net.PacketConn) {
	t.Helper()
	var lc net.ListenConfig
	for range 100 {
		var err error
		tcp, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		if udp, err = lc.ListenPacket(t.Context(), "udp", tcp.Addr().String()); err == nil {
			return tcp, udp
		}
		require.NoError(t, tcp.Close())
	}
	require.Fail(t, "no port is free for TCP and UDP")
	return nil, nil
}
