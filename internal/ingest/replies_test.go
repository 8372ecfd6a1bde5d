package ingest

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a client that sends its pieces one by one, and notes what it gets in one piece.
type script struct {
	net.Conn

	sends []string
	got   []string
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.sends) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.sends[0])
	s.sends = s.sends[1:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.got = append(s.got, string(p))
	return len(p), nil
}

func (*script) Close() error                     { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// TestRepliesToPipelinedCommandsAreSentTogether plays go-smtp: it reads a line and writes a reply.
func TestRepliesToPipelinedCommandsAreSentTogether(t *testing.T) {
	t.Parallel()
	sender := &script{sends: []string{"EHLO x\r\n", "MAIL\r\nRCPT\r\nRCPT\r\nDATA\r\n", "text\r\n.\r\nNOOP\r\nNO", "OP\r\nQUIT\r\nmore\r\n"}}
	c := newConn(sender, &client{}, connOptions{maxCommands: 1000, writing: time.Second, closed: func(*conn) {}})
	line := func(want string, replies ...string) {
		p := make([]byte, libraryBuffer)
		n, err := c.Read(p)
		require.NoError(t, err)
		require.Equal(t, want, string(p[:n]))
		for _, r := range replies {
			_, err := c.Write([]byte(r))
			require.NoError(t, err)
		}
	}
	line("EHLO x\r\n", "250-a\r\n", "250-b\r\n", "250 c\r\n")
	line("MAIL\r\n", "250 mail\r\n")
	line("RCPT\r\n", "250 one\r\n")
	line("RCPT\r\n", "550 two\r\n")
	line("DATA\r\n", "354 go\r\n")
	content, err := io.ReadAll(c.content())
	require.NoError(t, err)
	require.Equal(t, "text\r\n", string(content))
	c.contentRead()
	line(".\r\n", "250 taken\r\n")
	line("NOOP\r\n", "250 noop\r\n") // half a command behind it is none
	require.Equal(t, []string{"250-a\r\n250-b\r\n250 c\r\n", "250 mail\r\n250 one\r\n550 two\r\n354 go\r\n", "250 taken\r\n250 noop\r\n"}, sender.got)
	line("NO")
	line("OP\r\n", "250 noop\r\n")
	line("QUIT\r\n", "221 bye\r\n")
	require.NoError(t, c.Close())
	require.Equal(t, "250 noop\r\n221 bye\r\n", sender.got[3], "what is held is sent before the connection ends")
	require.Len(t, sender.got, 4)
}
