package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

const (
	bombSenders  = 8
	bombPause    = 50 * time.Millisecond
	hoarders     = 16
	hoardedBytes = 24 << 20 // of each hoarder's mail
	idlers       = 300      // of each address; an ingest takes 500 connections, and half of them from one address
	probers      = 8
)

// smtpSession is an attacker's connection after its EHLO.
type smtpSession struct{ *textproto.Conn }

// smtp opens a session from an address.
func (a *attacker) smtp(ctx context.Context, from string) (*smtpSession, error) {
	conn, err := a.dial(ctx, from, a.r.smtp)
	if err != nil {
		return nil, err
	}
	s := &smtpSession{textproto.NewConn(conn)}
	if _, _, err = s.ReadResponse(220); err == nil {
		err = s.say(250, "EHLO attacker.example")
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// say sends a command. The error is a [*textproto.Error] for an answer with another code.
func (s *smtpSession) say(code int, format string, args ...any) error {
	if err := s.PrintfLine(format, args...); err != nil {
		return err
	}
	_, _, err := s.ReadResponse(code)
	return err
}

// compose begins a mail to an agent that exists, up to the answer to DATA.
func (s *smtpSession) compose() error {
	for _, c := range []struct {
		code int
		line string
	}{
		{250, "MAIL FROM:<attacker@example.net>"},
		{250, "RCPT TO:<agent-0@" + attackedTenant + ".example.com>"},
		{354, "DATA"},
	} {
		if err := s.say(c.code, "%s", c.line); err != nil {
			return err
		}
	}
	return nil
}

// bombs sends mails of multiparts that are nested and never closed.
func (a *attacker) bombs(ctx context.Context) {
	a.loop(ctx, bombSenders, bombPause, func(ctx context.Context, i int) {
		s, err := a.smtp(ctx, "127.0.1.1")
		if err != nil {
			return
		}
		defer func() { _ = s.Close() }()
		for n := 0; ctx.Err() == nil; n++ {
			began := time.Now()
			if err := s.compose(); err != nil {
				return
			}
			a.count(func(did *history.Attack) { did.Sent++ })
			err := s.say(250, "%s\r\n.", bomb(20+(n*bombSenders+i)%40))
			a.ended(ctx, began, err)
			if err != nil {
				return
			}
			last(ctx, bombPause)
		}
	})
}

// bomb is a mail of some KB with that many levels.
func bomb(levels int) string {
	var b strings.Builder
	b.WriteString("From: attacker@example.net\r\nSubject: nested\r\nMIME-Version: 1.0\r\n")
	for n := range levels {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", n, n)
	}
	return b.String()
}

// hoarders send large mails that never end, and hold idle connections.
func (a *attacker) hoarders(ctx context.Context) {
	chunk := []byte(strings.Repeat("Some text that never ends.\r\n", 2<<10))
	a.loop(ctx, hoarders, time.Second, func(ctx context.Context, _ int) {
		s, err := a.smtp(ctx, "127.0.2.1")
		if err != nil {
			return
		}
		defer func() { _ = s.Close() }()
		if s.compose() != nil {
			return
		}
		a.count(func(did *history.Attack) { did.Sent++ })
		for sent := 0; sent < hoardedBytes; sent += len(chunk) {
			if _, err := s.W.Write(chunk); err != nil || s.W.Flush() != nil {
				a.ended(ctx, time.Now(), io.ErrClosedPipe)
				return
			}
		}
		_, _, err = s.ReadResponse(250)
		a.ended(ctx, time.Now(), err) // it may wait: it sends nothing that could be answered
	})
	for _, from := range []string{"127.0.2.2", "127.0.2.3"} {
		a.loop(ctx, idlers, time.Second, func(ctx context.Context, _ int) {
			s, err := a.smtp(ctx, from)
			if err != nil {
				return
			}
			defer func() { _ = s.Close() }()
			a.count(func(did *history.Attack) { did.Sent++ })
			_, err = s.ReadLine()
			a.ended(ctx, time.Now(), err) // it may wait: idle connections are cut off where others need them
		})
	}
}

// probes ask for addresses that do not exist, or do nothing, as long as the connection lasts.
func (a *attacker) probes(ctx context.Context) {
	a.loop(ctx, probers, 100*time.Millisecond, func(ctx context.Context, i int) {
		s, err := a.smtp(ctx, "127.0.3.1")
		if err != nil {
			return
		}
		defer func() { _ = s.Close() }()
		if s.say(250, "MAIL FROM:<attacker@example.net>") != nil {
			return
		}
		refusals, commands := 0, 0
		for {
			line := "NOOP"
			if i%2 == 0 {
				line = fmt.Sprintf("RCPT TO:<nobody-%d-%d@a.example.com>", i, refusals)
			}
			began := time.Now()
			a.count(func(did *history.Attack) { did.Sent++ })
			err := s.say(250, "%s", line)
			switch refused := (*textproto.Error)(nil); {
			case err == nil:
				commands++
			case errors.As(err, &refused) && refused.Code != 421:
				refusals++
				err = nil
			}
			a.ended(ctx, began, err)
			a.count(func(did *history.Attack) {
				did.Refusals, did.Commands = max(did.Refusals, refusals), max(did.Commands, commands)
			})
			if err != nil {
				return
			}
		}
	})
}
