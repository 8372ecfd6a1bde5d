package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

type sendCmd struct {
	Files       []string `arg:"" name:"file" placeholder:"FILE.eml" help:"Mails to send; - reads standard input."`
	To          []string `required:"" placeholder:"AGENT@…" help:"Recipients."`
	From        string   `placeholder:"ADDRESS" help:"The envelope's sender. Defaults to the address in the mail's From."`
	SMTP        string   `name:"smtp" env:"FANMAIL_SMTP" placeholder:"HOST:PORT" help:"The SMTP server. Defaults to that in DIR/credentials.json."`
	Count       int      `default:"1" help:"Copies of each mail; every copy after the first gets a Message-ID of its own, since the same mail twice is one event."`
	Concurrency int      `default:"1" help:"Connections at once."`
}

// Run sends the mails and says what the server answered to each.
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
	var letters []letter
	for _, name := range c.Files {
		l, err := c.read(s, name)
		if err != nil {
			return err
		}
		letters = append(letters, l)
	}
	return c.send(ctx, s, letters)
}

func (c *sendCmd) read(s *session, name string) (letter, error) {
	var raw []byte
	var err error
	if name == "-" {
		raw, err = io.ReadAll(s.in)
	} else {
		raw, err = os.ReadFile(name) //nolint:gosec // the user's own choice
	}
	if err != nil {
		return letter{}, fmt.Errorf("read the mail: %w", err)
	}
	l := letter{name: name, from: c.From, to: c.To, raw: crlf(raw)}
	if l.from == "" {
		l.from = sender(l.raw)
	}
	return l, nil
}

// sender is the address in the From header, or "" (the null sender) where
// there is none that can be read.
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

func (c *sendCmd) send(ctx context.Context, s *session, letters []letter) error {
	queue := make(chan letter)
	results := make(chan string)
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for n := range c.Count {
			for _, l := range letters {
				if n > 0 {
					l.raw = withMessageID(l.raw, newMessageID())
				}
				select {
				case queue <- l:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	var printed errgroup.Group
	printed.Go(func() error {
		for line := range results {
			s.say("%s", line)
		}
		return nil
	})
	quiet := c.Count*len(letters) > 20
	var bar *progress
	if quiet {
		bar = s.progress(int64(c.Count*len(letters)), "sending")
	}
	for range min(c.Concurrency, c.Count*len(letters)) {
		group.Go(func() error {
			p, err := dialPostman(ctx, c.SMTP)
			if err != nil {
				return err
			}
			defer p.quit()
			for l := range queue {
				answer, err := p.deliver(l)
				if err != nil {
					return err
				}
				sent.Add(1)
				if quiet {
					bar.add(1)
					continue
				}
				results <- fmt.Sprintf("%s  250 %s", l.name, printable(answer))
			}
			return nil
		})
	}
	err := group.Wait()
	close(results)
	_ = printed.Wait()
	if quiet {
		bar.finish()
	}
	if quiet || err != nil {
		s.say("%d of %d accepted", sent.Load(), c.Count*len(letters))
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped")
	}
	return err
}
