package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

const (
	// slowPairs is the number of pairs of HTTP requests at once whose bodies arrive slowly.
	slowPairs = 150
	// slowPatience is how long a body is sent, a byte a second. The API waits for five seconds.
	slowPatience = time.Minute
)

// slowBodies begins pairs of requests whose bodies never end. The first has the key of a tenant, so that its body is
// read; the second, which begins a second later, has none and is refused. It begins no pair after ctx, but keeps sending
// the bodies of those that it has begun: a body without a deadline is held for as long as it is sent. The refusal waits
// for no body, so it comes before the end of the first request, however slow the machine is.
func (a *attacker) slowBodies(ctx context.Context) {
	a.loop(ctx, slowPairs, time.Second, func(ctx context.Context, _ int) {
		patient, enough := context.WithTimeout(context.WithoutCancel(ctx), slowPatience)
		defer enough()
		var both sync.WaitGroup
		var read, refused time.Time
		both.Go(func() {
			read = a.slowBody(patient, "Authorization: Bearer "+a.r.attackedKey+"\r\n", http.StatusRequestTimeout)
		})
		last(patient, time.Second)
		both.Go(func() { refused = a.slowBody(patient, "", http.StatusUnauthorized) })
		both.Wait()
		if read.IsZero() || refused.IsZero() {
			return
		}
		a.count(func(did *history.Attack) {
			did.Pairs++
			if refused.After(read) {
				did.Late++
			}
		})
	})
}

// slowBody sends a request, a byte of its body a second, until it is answered, cut off or ctx ends. It returns when it
// was answered or cut off; zero if it was not. An answer with another status is an error of the attack.
func (a *attacker) slowBody(ctx context.Context, authorization string, status int) time.Time {
	conn, err := a.dial(ctx, "127.0.4.1", a.r.api)
	if err != nil {
		return time.Time{}
	}
	defer func() { _ = conn.Close() }()
	a.count(func(did *history.Attack) { did.Sent++ })
	_, err = fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: fanmail\r\n%sContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", authorization)
	if err == nil {
		dripping, stop := context.WithCancel(ctx)
		defer stop()
		a.group.Go(func() {
			for {
				last(dripping, time.Second)
				if _, err := conn.Write([]byte(" ")); err != nil || dripping.Err() != nil {
					return
				}
			}
		})
		var resp *http.Response
		if resp, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != status {
				a.fail(fmt.Errorf("a request with a slow body was answered %d instead of %d", resp.StatusCode, status))
			}
		}
	}
	a.count(func(did *history.Attack) {
		switch {
		case err == nil:
			did.Answered++
		case ctx.Err() == nil:
			did.Cut++
		default:
			did.Unanswered++
		}
	})
	if err != nil && ctx.Err() != nil {
		return time.Time{}
	}
	return time.Now()
}
