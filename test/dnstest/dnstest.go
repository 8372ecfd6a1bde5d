// Package dnstest starts DNS servers for tests. They are real servers on UDP and TCP on loopback; they answer from a list
// and fail on demand.
package dnstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// Zone holds what a server answers. The key is a lower-case name and a type, such as "name. TXT"; the types are TXT, A,
// AAAA, MX, PTR and CNAME. The value is a list of records, such as "192.0.2.1" or "10 mx.example.com.", or one of the
// failures. "CNAME other.example.com." may stand first; the records that follow are those of that name then. A name without
// a key does not exist.
type Zone map[string][]string

// The failures. One of them stands first in a value.
const (
	ServFail = "SERVFAIL"
	Refused  = "REFUSED"
	Silence  = "no answer at all"
	OverTCP  = "truncated over UDP" // the records follow
)

// maxUDP is the longest answer that RFC 1035 allows over UDP.
const maxUDP = 512

// Serve answers over UDP and TCP on one loopback port until the test ends. asked counts the questions.
func Serve(t testing.TB, z Zone) (addr string, asked *atomic.Int64) {
	t.Helper()
	return ServeFunc(t, func(name, kind string) ([]string, bool) {
		records, known := z[name+" "+kind]
		if known {
			return records, true
		}
		for have := range z {
			if strings.HasPrefix(have, name+" ") {
				return nil, true // the name exists, without this type
			}
		}
		return nil, false
	})
}

// ServeFunc is [Serve] with a function in place of a zone. It returns the records of a name and a type, and whether the
// name exists. It may be called from many goroutines.
func ServeFunc(t testing.TB, answer func(name, kind string) (records []string, exists bool)) (addr string, asked *atomic.Int64) {
	t.Helper()
	s, err := Start(answer)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr, &s.asked
}

// Server is a running server.
type Server struct {
	// Addr is where it listens, on UDP and TCP.
	Addr string

	answer func(name, kind string) ([]string, bool)
	tcp    net.Listener
	udp    net.PacketConn
	served sync.WaitGroup
	asked  atomic.Int64
	failed atomic.Pointer[error]
}

// Start is [ServeFunc] without a test. The caller closes the server.
func Start(answer func(name, kind string) (records []string, exists bool)) (*Server, error) {
	tcp, udp, err := listen()
	if err != nil {
		return nil, fmt.Errorf("DNS server: %w", err)
	}
	s := &Server{Addr: tcp.Addr().String(), answer: answer, tcp: tcp, udp: udp}
	s.served.Go(func() { s.serveUDP(udp) })
	s.served.Go(func() { s.serveTCP(tcp) })
	return s, nil
}

// Asked is the number of questions so far.
func (s *Server) Asked() int { return int(s.asked.Load()) }

// Close ends the server. The error names a record that it could not send.
func (s *Server) Close() error {
	_, _ = s.tcp.Close(), s.udp.Close()
	s.served.Wait()
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("the zone: %w", *err)
	}
	return nil
}

func (s *Server) serveUDP(conn net.PacketConn) {
	for buf := make([]byte, 4096); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		if reply := s.reply(buf[:n], true); reply != nil {
			_, _ = conn.WriteTo(reply, from)
		}
	}
}

func (s *Server) serveTCP(l net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed
		}
		open.Go(func() { s.serveConn(conn) })
	}
}

// serveConn answers one question. The resolvers under test ask no more on one connection.
func (s *Server) serveConn(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	question := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, question); err != nil {
		return
	}
	if reply := s.reply(question, false); reply != nil {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)) //nolint:gosec // below 64 KiB
	}
}

// reply packs the answer; nil means silence.
func (s *Server) reply(packed []byte, udp bool) []byte {
	var q dnsmessage.Message
	if err := q.Unpack(packed); err != nil || len(q.Questions) != 1 {
		return nil
	}
	s.asked.Add(1)
	question := q.Questions[0]
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.ID, Response: true, OpCode: q.OpCode, RecursionDesired: q.RecursionDesired, RecursionAvailable: true,
		},
		Questions: q.Questions,
	}
	kind := strings.TrimPrefix(question.Type.String(), "Type")
	records, exists := s.answer(strings.ToLower(question.Name.String()), kind)
	if !exists {
		m.RCode = dnsmessage.RCodeNameError
	}
	if len(records) > 0 {
		switch records[0] {
		case ServFail:
			m.RCode, records = dnsmessage.RCodeServerFailure, nil
		case Refused:
			m.RCode, records = dnsmessage.RCodeRefused, nil
		case Silence:
			return nil
		case OverTCP:
			records = records[1:]
			if udp {
				m.Truncated, records = true, nil
			}
		}
	}
	m.Answers = s.answers(question.Name, kind, records)
	out, err := m.Pack()
	if err == nil && udp && len(out) > maxUDP {
		m.Truncated, m.Answers = true, nil
		out, err = m.Pack()
	}
	if err != nil {
		s.failed.Store(&err)
		return nil
	}
	return out
}

// answers packs the records of a name. Those after an alias are those of its target.
func (s *Server) answers(owner dnsmessage.Name, kind string, records []string) (out []dnsmessage.Resource) {
	for _, r := range records {
		of := kind
		if target, alias := strings.CutPrefix(r, "CNAME "); alias {
			of, r = "CNAME", target
		}
		body, err := resource(of, r)
		if err != nil {
			s.failed.Store(&err)
			continue
		}
		out = append(out, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 1}, Body: body})
		if alias, is := body.(*dnsmessage.CNAMEResource); is {
			owner = alias.CNAME
		}
	}
	return out
}

func resource(kind, record string) (dnsmessage.ResourceBody, error) {
	switch kind {
	case "TXT":
		txt := &dnsmessage.TXTResource{}
		for ; len(record) > 255; record = record[255:] {
			txt.TXT = append(txt.TXT, record[:255])
		}
		txt.TXT = append(txt.TXT, record)
		return txt, nil
	case "MX":
		mx := &dnsmessage.MXResource{}
		var host string
		if _, err := fmt.Sscanf(record, "%d %s", &mx.Pref, &host); err != nil {
			return nil, fmt.Errorf("the record %q: %w", record, err)
		}
		var err error
		mx.MX, err = dnsmessage.NewName(host)
		return mx, err
	case "PTR":
		name, err := dnsmessage.NewName(record)
		return &dnsmessage.PTRResource{PTR: name}, err
	case "CNAME":
		name, err := dnsmessage.NewName(record)
		return &dnsmessage.CNAMEResource{CNAME: name}, err
	}
	addr, err := netip.ParseAddr(record)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the record %q: %w", record, err)
	case kind == "A" && addr.Is4():
		return &dnsmessage.AResource{A: addr.As4()}, nil
	case kind == "AAAA" && addr.Is6():
		return &dnsmessage.AAAAResource{AAAA: addr.As16()}, nil
	}
	return nil, errors.New("no record " + kind + " can hold " + record)
}

// listen opens one port for both. A port that is free for TCP may be a client's for UDP; then another is tried.
func listen() (tcp net.Listener, udp net.PacketConn, err error) {
	var lc net.ListenConfig
	for range 100 {
		if tcp, err = lc.Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return nil, nil, err
		}
		if udp, err = lc.ListenPacket(context.Background(), "udp", tcp.Addr().String()); err == nil {
			return tcp, udp, nil
		}
		if closed := tcp.Close(); closed != nil {
			return nil, nil, closed
		}
	}
	return nil, nil, fmt.Errorf("no port is free for TCP and UDP: %w", err)
}
