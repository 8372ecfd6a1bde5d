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
	// Subscribe has the events of an agent POSTed to url; "" means of all.
	Subscribe(ctx context.Context, url, agent string) error
	// Accept takes events in. When it returns they are durable. It gives the
	// ids with which they will arrive, in the header webhook-id.
	Accept(ctx context.Context, evs []Event) ([]string, error)
	// Settle waits until the outcome of every event is recorded, so that no
	// work is left to do after the measurement.
	Settle(ctx context.Context) error
	// CPU is the seconds of CPU that the system has used so far, by its parts;
	// its databases and brokers are parts of it.
	CPU() (map[string]float64, error)
	// Stop ends all of it.
	Stop(ctx context.Context) error
}

// Event is a parsed mail, as a producer hands it in.
type Event struct {
	Agent string
	Data  json.RawMessage
}

// newEvent makes the n-th event, of which the envelope has about 2 KB.
func newEvent(n int, agent string) Event {
	data, err := json.Marshal(map[string]any{
		"message_id":      fmt.Sprintf("msg_%032x", n),
		"conversation_id": fmt.Sprintf("conv_%08d", n/4),
		"agent_id":        agent,
		"envelope":        map[string]any{"from": "sender@example.net", "to": []string{agent}},
		"from":            []map[string]string{{"name": "A Sender", "address": "sender@example.net"}},
		"to":              []map[string]string{{"name": "", "address": agent}},
		"reply_to":        []string{},
		"subject":         fmt.Sprintf("Your order %d has been shipped", n),
		"text":            strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\n", 24),
		"size":            2345,
		"attachments":     []string{},
	})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return Event{Agent: agent, Data: data}
}
