package dispatch

import (
	"context"
	"time"
)

// silentEvery is how often the partitions with a silent inbox are searched.
const silentEvery = time.Second

// runSilent searches the partitions whose inbox is silent, until ctx ends. A search that
// takes long is repeated less often.
func (d *Dispatcher) runSilent(ctx context.Context) {
	timer := time.NewTimer(silentEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		start := time.Now()
		if d.searchSilent(ctx) == 0 && d.taking.Swap(false) {
			d.log.Info("delivery messages come again")
		}
		timer.Reset(max(silentEvery, time.Since(start)))
	}
}

// searchSilent searches once, and returns how many inboxes are silent.
func (d *Dispatcher) searchSilent(ctx context.Context) (silent int) {
	connected := d.nc.IsConnected()
	for _, p := range d.ownedPartitions() {
		in := d.inboxes[p].Load()
		if in == nil {
			continue
		}
		if !connected {
			in.doubt()
		}
		if in.silent() {
			silent++
			d.ask(in)
			d.rescueLogged(ctx, p)
		}
	}
	return silent
}
