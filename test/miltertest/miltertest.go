// Package miltertest runs mail filters that speak the milter protocol, for tests: [Serve] one that does what a test
// says, and [Broken] one that does not keep to the protocol.
package miltertest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/d--j/go-milter"
	"github.com/stretchr/testify/require"
)

// Mail is what a filter has seen of a mail.
type Mail struct {
	Family, Addr, Helo string
	From               string
	To                 []string
	Headers            [][2]string
	Body               []byte
	Macros             map[string]string
}

// Filter decides about mails. A nil function lets everything pass.
type Filter struct {
	MailFrom func(from string) *milter.Response
	RcptTo   func(to string) *milter.Response
	Headers  func(m Mail) *milter.Response
	End      func(m Mail, change milter.Modifier) *milter.Response
	// Actions are what it asks for; zero: whatever it is offered.
	Actions milter.OptAction
	// Protocol are its options, such as milter.OptNoReplies.
	Protocol milter.OptProtocol
}

// Serve runs a filter until the test ends, and returns its address as a setting has it.
func Serve(t testing.TB, f Filter) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	actions := f.Actions
	if actions == 0 {
		actions = milter.OptAddHeader | milter.OptChangeHeader | milter.OptChangeBody | milter.OptQuarantine
	}
	s := milter.NewServer(milter.WithAction(actions), milter.WithProtocol(f.Protocol), milter.WithMilter(func() milter.Milter { return &session{f: f} }))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // it ends because it is closed
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return "inet:" + l.Addr().String()
}

type session struct {
	milter.NoOpMilter

	f Filter
	m Mail
}

func (s *session) Connect(_, family string, _ uint16, addr string, _ milter.Modifier) (*milter.Response, error) {
	s.m.Family, s.m.Addr = family, addr
	return milter.RespContinue, nil
}

func (s *session) Helo(name string, _ milter.Modifier) (*milter.Response, error) {
	s.m.Helo = name
	return milter.RespContinue, nil
}

func (s *session) MailFrom(from, _ string, _ milter.Modifier) (*milter.Response, error) {
	s.m.From = from
	if s.f.MailFrom != nil {
		return s.f.MailFrom(from), nil
	}
	return milter.RespContinue, nil
}

func (s *session) RcptTo(to, _ string, m milter.Modifier) (*milter.Response, error) {
	s.m.Macros = map[string]string{}
	for _, name := range []string{milter.MacroQueueId, milter.MacroMTAFQDN, milter.MacroClientAddr, milter.MacroMailAddr, milter.MacroRcptAddr} {
		s.m.Macros[name] = m.Get(name)
	}
	if s.f.RcptTo != nil {
		if r := s.f.RcptTo(to); r != milter.RespContinue {
			return r, nil
		}
	}
	s.m.To = append(s.m.To, to)
	return milter.RespContinue, nil
}

func (s *session) Header(name, value string, _ milter.Modifier) (*milter.Response, error) {
	s.m.Headers = append(s.m.Headers, [2]string{name, value})
	return milter.RespContinue, nil
}

func (s *session) Headers(milter.Modifier) (*milter.Response, error) {
	if s.f.Headers != nil {
		return s.f.Headers(s.m), nil
	}
	return milter.RespContinue, nil
}

func (s *session) BodyChunk(chunk []byte, _ milter.Modifier) (*milter.Response, error) {
	s.m.Body = append(s.m.Body, chunk...)
	return milter.RespContinue, nil
}

func (s *session) EndOfMessage(m milter.Modifier) (*milter.Response, error) {
	if s.f.End != nil {
		return s.f.End(s.m, m), nil
	}
	return milter.RespAccept, nil
}

// Broken runs a filter until the test ends whose connections are served by f, and returns its address as a setting has
// it. The end of the test closes the connections.
func Broken(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer func() { _ = c.Close() }()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "inet:" + l.Addr().String()
}

// Packet is a packet of the protocol.
func Packet(code byte, data string) []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.BigEndian, uint32(len(data)+1)) //nolint:gosec // of a test
	b.WriteByte(code)
	b.WriteString(data)
	return b.Bytes()
}

// Until reads packets up to the first with the code, and answers each but those that are macros with answer. It reports
// whether there was one.
func Until(c net.Conn, code byte, answer []byte) bool {
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return false
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:4]))-1); err != nil {
			return false
		}
		if head[4] == code {
			return true
		}
		if head[4] != 'D' {
			if _, err := c.Write(answer); err != nil {
				return false
			}
		}
	}
}

// Agree answers the options of the client: version 6, the changes to headers and the body, and an answer to each
// command.
func Agree(c net.Conn) bool {
	if !Until(c, 'O', nil) {
		return false
	}
	_, err := c.Write(Packet('O', "\x00\x00\x00\x06\x00\x00\x00\x13\x00\x00\x00\x00"))
	return err == nil
}
