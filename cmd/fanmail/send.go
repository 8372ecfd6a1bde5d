package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

type sendCmd struct {
	Files       []string `arg:"" optional:"" name:"file" placeholder:"FILE.eml" help:"The mails to send. - reads standard input. Without a file, a sample mail is sent, each time another one." predictor:"file"`
	To          []string `required:"" placeholder:"AGENT@…" help:"The recipients."`
	From        string   `placeholder:"ADDRESS" help:"The sender in the SMTP envelope. Defaults to the address in the mail's From."`
	SMTP        string   `name:"smtp" env:"FANMAIL_SMTP" placeholder:"HOST:PORT" help:"The SMTP server. Defaults to the one in DIR/credentials.json."`
	Count       int      `default:"1" help:"Number of copies of each mail. Every copy after the first gets a new Message-ID, because the same mail twice is one event."`
	Concurrency int      `default:"1" help:"Number of connections."`
}

// Run sends the mails and prints the server's response to each.
func (c *sendCmd) Run(ctx context.Context, s *session) error {
	switch {
	case c.Count < 1:
		return fmt.Errorf("--count is %d; it must be 1 or more", c.Count)
	case c.Concurrency < 1 || c.Concurrency > 256:
		return fmt.Errorf("--concurrency is %d; it must be from 1 to 256", c.Concurrency)
	}
	if c.SMTP == "" {
		creds, err := credentials(s)
		if err != nil {
			return fmt.Errorf("%w, or set --smtp (FANMAIL_SMTP)", err)
		}
		c.SMTP = creds.SMTP
	}
	var mails []message
	if len(c.Files) == 0 {
		mails = append(mails, c.sample(time.Now()))
	}
	for _, name := range c.Files {
		m, err := c.read(s, name)
		if err != nil {
			return err
		}
		mails = append(mails, m)
	}
	return c.send(ctx, s, mails)
}

func (c *sendCmd) read(s *session, name string) (message, error) {
	var raw []byte
	var err error
	if name == "-" {
		raw, err = io.ReadAll(s.in)
	} else {
		raw, err = os.ReadFile(name) //nolint:gosec // the user names the file
	}
	if err != nil {
		return message{}, fmt.Errorf("read the mail: %w", err)
	}
	m := message{name: name, from: c.From, to: c.To, raw: crlf(raw)}
	if m.from == "" {
		m.from = sender(m.raw)
	}
	return m, nil
}

// sample is a mail for those who have none at hand. Its Message-ID is new, so that each is an event of its own.
func (c *sendCmd) sample(now time.Time) message {
	from := c.From
	if from == "" {
		from = "sample@fanmail.example"
	}
	id := newMessageID()
	raw := "From: Sample <" + from + ">\nTo: " + strings.Join(c.To, ", ") + "\nSubject: A sample mail\nDate: " + now.Format(time.RFC1123Z) +
		"\nMessage-ID: " + id + "\n\nHello,\n\nthis is a sample mail of `fanmail send`.\n"
	return message{name: "sample mail " + id, from: from, to: c.To, raw: crlf([]byte(raw))}
}

// sender returns the address in the From header, or "" (the null sender) if there
// is none.
func sender(raw []byte) string {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return ""
	}
	from, err := m.Header.AddressList("From")
	if err != nil || len(from) == 0 {
		return ""
	}
	return from[0].Address
}

// quietAbove is the number of mails above which a progress line replaces the
// line a mail.
const quietAbove = 20

func (c *sendCmd) send(ctx context.Context, s *session, mails []message) error {
	total := c.Count * len(mails)
	var bar *progress
	if total > quietAbove {
		bar = s.progress(int64(total), "sending")
	}
	queue := make(chan message)
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		return c.produce(ctx, mails, queue)
	})
	for range min(c.Concurrency, total) {
		group.Go(func() error {
			return c.deliver(ctx, queue, func(m message, answer string) {
				sent.Add(1)
				if bar != nil {
					bar.add(1)
					return
				}
				s.say("%s  250 %s", m.name, printable(answer))
			})
		})
	}
	err := group.Wait()
	if bar != nil {
		bar.finish()
	}
	if bar != nil || err != nil {
		s.say("%d of %d accepted", sent.Load(), total)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped")
	}
	return err
}

// produce queues the copies of each mail. The first copy is the mail itself.
func (c *sendCmd) produce(ctx context.Context, mails []message, queue chan<- message) error {
	for n := range c.Count {
		for _, m := range mails {
			if n > 0 {
				m.raw = withMessageID(m.raw, newMessageID())
			}
			select {
			case queue <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// deliver sends the queue's mails over one connection.
func (c *sendCmd) deliver(ctx context.Context, queue <-chan message, accepted func(m message, answer string)) error {
	conn, err := dialSMTP(ctx, c.SMTP)
	if err != nil {
		return err
	}
	defer conn.quit()
	for m := range queue {
		answer, err := conn.send(m)
		if err != nil {
			return err
		}
		accepted(m, answer)
	}
	return nil
}
