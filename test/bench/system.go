package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// System is what is measured: something that takes events in durably and POSTs
// them to subscribers.
type System interface {
	// Name in the results.
	Name() string
	// Start runs the system on durable storage below dir, empty before.
	Start(ctx context.Context, dir string) error
	// Subscribe makes the endpoints' subscriptions.
	Subscribe(ctx context.Context, endpoints []Endpoint) error
	// Accept takes events in, in one transaction. When it returns they are
	// durable. It gives the ids with which they will arrive, in the header
	// webhook-id. It may be called from several goroutines.
	Accept(ctx context.Context, evs []Event) ([]string, error)
	// Settle waits until the outcome of every event is recorded, so that no
	// work is left to do after the measurement.
	Settle(ctx context.Context) error
	// Usage is what the system has used so far.
	Usage(ctx context.Context) (Usage, error)
	// Memory is the resident bytes of each part at their highest, where the
	// kernel keeps that, else now.
	Memory() (map[string]float64, error)
	// Debug gives the base URL of each part that may serve /debug/pprof.
	Debug() map[string]string
	// Stop ends all of it.
	Stop(ctx context.Context) error
}

// Usage is what a system has used since it started.
type Usage struct {
	// CPU is in seconds, by part; databases and brokers are parts.
	CPU map[string]float64
	// Written is in bytes: Postgres's log, and what the broker handed to the
	// disk.
	Written map[string]float64
}

// Event is a parsed mail, as a producer hands it in.
type Event struct {
	Target
	Data json.RawMessage
}

// newEvent makes the n-th event, of which the envelope has about 2 KB.
func newEvent(n int, to Target) Event {
	data, err := json.Marshal(map[string]any{
		"message_id":      fmt.Sprintf("msg_%032x", n),
		"conversation_id": fmt.Sprintf("conv_%08d", n/4),
		"agent_id":        to.Agent,
		"envelope":        map[string]any{"from": "sender@example.net", "to": []string{to.Agent}},
		"from":            []map[string]string{{"name": "A Sender", "address": "sender@example.net"}},
		"to":              []map[string]string{{"name": "", "address": to.Agent}},
		"reply_to":        []string{},
		"subject":         fmt.Sprintf("Your order %d has been shipped", n),
		"text":            strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\n", 24),
		"size":            2345,
		"attachments":     []string{},
	})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return Event{Target: to, Data: data}
}
