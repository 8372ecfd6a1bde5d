package ingest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// sequences calls f with each text of 1 to n of the bytes that matter in a mail's transfer, and a letter.
func sequences(n int, f func(string)) {
	var grow func(string)
	grow = func(s string) {
		if s != "" {
			f(s)
		}
		if len(s) == n {
			return
		}
		for _, c := range "\r\n.x" {
			grow(s + string(c))
		}
	}
	grow("")
}

// unstuff is the model of the data reader, written after RFC 5321: content is lines that end in CRLF, "." ends
// it, and other lines lose a first dot. rest is what follows the end.
func unstuff(sent string) (content, rest string, ended bool) {
	for {
		line, after, whole := strings.Cut(sent, "\r\n")
		if !whole {
			return content, "", false
		}
		if line == "." {
			return content, after, true
		}
		content += strings.TrimPrefix(line, ".") + "\r\n"
		sent = after
	}
}

func TestTheDataReaderReadsEverySequenceLikeItsModel(t *testing.T) {
	t.Parallel()
	sequences(7, func(s string) {
		sent := s + "\r\n.\r\nNOOP\r\n"
		content, rest, ended := unstuff(sent)
		require.True(t, ended)
		for _, in := range []io.Reader{strings.NewReader(sent), iotest.OneByteReader(strings.NewReader(sent))} {
			r := bufio.NewReader(in)
			got, err := io.ReadAll(&dataReader{r: r})
			require.NoError(t, err, "%q", s)
			require.Equal(t, content, string(got), "%q", s)
			after, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, rest, string(after), "%q", s)
		}
	})
}

func TestTheDataReaderFillsBuffersOfEverySize(t *testing.T) {
	t.Parallel()
	sent := "..a\r\r\n.\rb\r\n\n.\n.\r\r\n" + strings.Repeat("long ", 3000) + "\r\r\n.\r\nrest"
	content, _, _ := unstuff(sent)
	for size := 1; size < 40; size++ {
		d := &dataReader{r: bufio.NewReaderSize(strings.NewReader(sent), 16)}
		var got []byte
		buf := make([]byte, size)
		for {
			n, err := d.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			require.NotZero(t, n)
		}
		require.Equal(t, content, string(got), size)
	}
	_, err := io.ReadAll(&dataReader{r: bufio.NewReader(strings.NewReader("half\r\n."))})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// delivery is a mail that an SMTP session received.
type delivery struct{ to, content string }

// recorder is a session that keeps mails in memory. It reads them as the server's session does.
type recorder struct {
	session
	got *deliveries
}

type deliveries struct {
	mu    sync.Mutex
	mails []delivery
}

func (d *deliveries) add(m delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mails = append(d.mails, m)
}

func (d *deliveries) take() []delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.mails
	d.mails = nil
	return got
}

func (r *recorder) Rcpt(to string, _ *smtp.RcptOptions) error {
	r.to = append(r.to, recipient{address: to})
	return nil
}

func (r *recorder) Data(in io.Reader) error {
	s := spool{}
	defer s.close()
	t := transfer{conn: r.conn}
	defer r.s.transfers.release(&t)
	if err := r.receive(in, &s, &t); err != nil {
		return err
	}
	raw, err := s.bytes()
	if err == nil {
		r.conn.accepted()
		r.got.add(delivery{r.to[0].address, string(raw)})
	}
	return err
}

// record serves SMTP without a database. It returns the server's address.
func record(t *testing.T) (string, *deliveries) {
	t.Helper()
	s, err := NewServer(nil, nil, Options{Addr: "127.0.0.1:0", Registerer: prometheus.NewRegistry(), Tarpit: 1})
	require.NoError(t, err)
	got := &deliveries{}
	s.smtp.Backend = smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		in, err := s.newSession(c)
		if err != nil {
			return nil, err
		}
		return &recorder{*in.(*session), got}, nil
	})
	require.NoError(t, s.Listen())
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() { require.NoError(t, <-done) })
	return s.Addr().String(), got
}

// refusals is how many bad commands go-smtp takes before it closes the connection.
const refusals = 3

// TestNoSequenceSwallowsTheNextMail sends each sequence as the end of a mail, with a second mail behind it in the
// same packet. Both arrive as the model says, for their own recipient.
func TestNoSequenceSwallowsTheNextMail(t *testing.T) {
	t.Parallel()
	addr, got := record(t)
	const second = "MAIL FROM:<s@example.org>\r\nRCPT TO:<two@example.com>\r\nDATA\r\nsecond\r\n.\r\nQUIT\r\n"
	sequences(7, func(s string) {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		sent := s + "\r\n.\r\n" + second
		_, err = fmt.Fprintf(c, "EHLO x\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<one@example.com>\r\nDATA\r\n%s", sent)
		require.NoError(t, err)
		replies, _ := io.ReadAll(c) // the server may close with bytes of the client unread

		content, rest, _ := unstuff(sent)
		want := []delivery{{"one@example.com", content}}
		if bad := strings.Count(strings.TrimSuffix(rest, second), "\n"); bad <= refusals {
			want = append(want, delivery{"two@example.com", "second\r\n"})
		}
		require.Equal(t, want, got.take(), "%q", s)
		require.Equal(t, len(want), strings.Count(string(replies), "OK: queued"), "%q: %q", s, replies)
	})
}
