package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// direct is a system that POSTs at once and keeps nothing.
type direct struct {
	mu        sync.Mutex
	n         int
	endpoints map[Target][]string
	answered  map[string]int // by URL
	posting   sync.WaitGroup
	ctx       context.Context //nolint:containedctx // ends what hangs when the system stops
	cancel    context.CancelFunc
}

func (*direct) Name() string { return "direct" }

func (d *direct) Start(ctx context.Context, _ string, _ *Workload) error {
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.endpoints, d.answered = map[Target][]string{}, map[string]int{}
	return nil
}

func (d *direct) Subscribe(_ context.Context, endpoints []Endpoint) error {
	for _, e := range endpoints {
		d.endpoints[e.Target] = append(d.endpoints[e.Target], e.URL)
	}
	return nil
}

func (d *direct) Accept(_ context.Context, evs []Event) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]string, len(evs))
	for i, ev := range evs {
		d.n++
		ids[i] = fmt.Sprintf("evt_%d", d.n)
		for _, url := range d.endpoints[ev.Target] {
			d.posting.Go(func() { d.post(url, ids[i]) })
		}
	}
	return ids, nil
}

func (d *direct) post(url, id string) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, url, nil)
	if err != nil {
		return
	}
	req.Header.Set("Webhook-Id", id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	_ = resp.Body.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answered[url]++
}

func (*direct) Settle(context.Context) error         { return nil }
func (*direct) Usage(context.Context) (Usage, error) { return Usage{}, nil }
func (*direct) Memory() (map[string]float64, error)  { return map[string]float64{"all": 1}, nil }
func (*direct) Debug() map[string]string             { return nil }

func (*direct) Hasten(context.Context) error  { return nil }
func (*direct) DropDay(context.Context) error { return nil }

func (d *direct) Stop(context.Context) error {
	d.cancel()
	d.posting.Wait()
	return nil
}

func TestEveryWebhookIsWarmBeforeSomeTurnBad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	endpoints := append(each("good", 2, Answer{}), each("bad", 2, Answer{Hang: true})...)
	w := Workload{
		Name: "x", Endpoints: endpoints, Turns: inTurn(endpoints), Events: 20, Batch: 1, Rate: 100, Rounds: 1, Patience: time.Minute,
	}
	s := &direct{}
	r, err := run(ctx, &w, s, t.TempDir(), "")
	require.NoError(t, err)
	require.Equal(t, 10, r.N, "the healthy ones' half of the events, and none of the warm-up")
	require.Equal(t, 10, r.Expected)
	require.Positive(t, r.WellP99)
	require.Positive(t, r.AloneP99)
	for _, e := range w.Endpoints {
		if e.Hang {
			// A round has 200 events for four.
			require.GreaterOrEqual(t, s.answered[e.URL], 1+warmRounds*50, "a bad neighbour answered well before, and not once after")
			// Then each gets five while all are healthy, the last of which may still be in flight, and
			// five that hang.
			require.LessOrEqual(t, (s.answered[e.URL]-1)%50, 5, "a bad neighbour answered well before, and not once after")
		}
	}
}
