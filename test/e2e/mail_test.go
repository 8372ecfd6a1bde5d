package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/emersion/go-smtp"
)

// senders send all mails over a few connections. They retry each mail until it is answered 250, as
// mail servers do.
type senders struct {
	accepted chan struct{} // one for each mail
	retries  atomic.Int64  // attempts after the first
	failed   atomic.Pointer[error]
	done     sync.WaitGroup
}

// sendAll starts to send. The caller waits for done.
func sendAll(ctx context.Context, addr string, connections int) *senders {
	s := &senders{accepted: make(chan struct{}, mails)}
	todo := make(chan int, mails)
	for n := range mails {
		todo <- n
	}
	close(todo)
	for range connections {
		s.done.Go(func() {
			var c *smtp.Client
			for n := range todo {
				err := s.deliver(ctx, addr, &c, n)
				if err != nil {
					s.failed.Store(&err)
					return
				}
				s.accepted <- struct{}{}
			}
			if c != nil {
				_ = c.Quit()
			}
		})
	}
	return s
}

// deliver retries one mail with the same Message-ID until it is accepted. A permanent refusal is an
// error.
func (s *senders) deliver(ctx context.Context, addr string, c **smtp.Client, n int) error {
	tries := 0
	try := func() error {
		if tries++; tries > 1 {
			s.retries.Add(1)
		}
		var err error
		if *c == nil {
			if *c, err = smtp.Dial(addr); err != nil {
				*c = nil
				return err
			}
			(*c).CommandTimeout, (*c).SubmissionTimeout = time.Minute, time.Minute
		}
		err = (*c).SendMail("sender@example.net", []string{agentAddress(n % agents)}, strings.NewReader(message(n)))
		if err == nil {
			return nil
		}
		_ = (*c).Close()
		*c = nil
		var refused *smtp.SMTPError
		if errors.As(err, &refused) && refused.Code >= 500 {
			return backoff.Permanent(err)
		}
		return err
	}
	if err := backoff.Retry(try, backoff.WithContext(backoff.NewConstantBackOff(20*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("%s: %w", subject(n), err)
	}
	return nil
}

func message(n int) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: Sender <sender@example.net>
To: %s
Subject: %s
Message-ID: <%04d@crash.example.net>
Date: Mon, 02 Nov 2026 10:00:00 +0000
Content-Type: text/plain; charset=utf-8

Hello, this is mail %d.
%s
`, agentAddress(n%agents), subject(n), n, n, strings.Repeat("Some more text for an ordinary mail.\n", 20)), "\n", "\r\n")
}
