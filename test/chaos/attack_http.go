package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// slowSenders is the number of HTTP requests at once whose bodies arrive slowly.
const slowSenders = 300

// slowBodies begins requests without a key, and sends a byte of their bodies now and then.
func (a *attacker) slowBodies(ctx context.Context) {
	a.loop(ctx, slowSenders, time.Second, func(ctx context.Context, _ int) {
		conn, err := a.dial(ctx, "127.0.4.1", a.r.api)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		began := time.Now()
		a.count(func(did *history.Attack) { did.Sent++ })
		if _, err := fmt.Fprint(conn, "POST /v1/events HTTP/1.1\r\nHost: fanmail\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"); err != nil {
			a.ended(ctx, began, err)
			return
		}
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
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		a.ended(ctx, began, err)
		if err == nil {
			_ = resp.Body.Close()
		}
	})
}
