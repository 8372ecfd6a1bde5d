package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// System is what the bench measures: it accepts events durably and POSTs them to subscribers.
type System interface {
	// Name in the results.
	Name() string
	// Start runs the system on durable storage below dir, which is empty, as the workload needs it.
	Start(ctx context.Context, dir string, w *Workload) error
	// Subscribe creates the endpoints' subscriptions.
	Subscribe(ctx context.Context, endpoints []Endpoint) error
	// Accept accepts events in one transaction. They are durable when it returns. It returns the ids
	// with which they will arrive, in the header webhook-id. It may be called from many goroutines.
	Accept(ctx context.Context, evs []Event) ([]string, error)
	// Settle waits until the outcome of every event is recorded, so that no work is left after the
	// measurement.
	Settle(ctx context.Context) error
	// Hasten waits until every first attempt's outcome is recorded, and makes the failed deliveries
	// due now. A system that retries within seconds anyway does nothing.
	Hasten(ctx context.Context) error
	// DropDay drops what is past its retention.
	DropDay(ctx context.Context) error
	// Usage is what the system has used so far.
	Usage(ctx context.Context) (Usage, error)
	// Memory is the resident bytes of each part: the peak if the kernel keeps it, else now.
	Memory() (map[string]float64, error)
	// Debug returns the base URL of each part that may serve /debug/pprof.
	Debug() map[string]string
	// Stop stops all of it.
	Stop(ctx context.Context) error
}

// Usage is what a system has used since it started.
type Usage struct {
	// CPU is in seconds, by part. Databases and brokers are parts.
	CPU map[string]float64
	// Written is in bytes: Postgres's WAL, and what the broker wrote to disk.
	Written map[string]float64
}

// Event is a parsed mail, as a producer inserts it.
type Event struct {
	Target
	Data json.RawMessage
}

// words are the vocabulary of [filler]. There are enough of them that its texts compress about as well
// as people's.
var words = strings.Fields(`a about account after again all also an and any are as at back be because been before
	but by call can change check could date day delivery do email few find first follow for friday from get give go good
	have he help her here his how I if in information into invoice is issue it its just know last later let like look
	made make many meeting message minutes monday more my need new next no not now number of office old on one only or
	order other our out over payment people please price project question read regards reply report right say see send
	she shipped so some support team thank that the their them then there these they thing think this those time to
	today tomorrow two under until up update us use very want was way we week well were what when where which while who
	will with word work would year yes you your`)

// filler is a text of about so many bytes, the same every time for n.
func filler(n, bytes int) string {
	r := rand.New(rand.NewPCG(uint64(n), 0)) //nolint:gosec // n is not negative, and nothing here is secret
	var b strings.Builder
	for line := 0; b.Len() < bytes; {
		w := words[r.IntN(len(words))]
		b.WriteString(w)
		if line += len(w) + 1; line > 70 {
			b.WriteByte('\n')
			line = 0
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// newEvent returns the n-th event. Its envelope has about 2 KB.
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
		"text":            filler(n, 1500),
		"size":            2345,
		"attachments":     []string{},
	})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return Event{Target: to, Data: data}
}
