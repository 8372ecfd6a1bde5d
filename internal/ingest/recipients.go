package ingest

import (
	"sync"
	"time"
)

// Bounds of the recipients in memory.
const (
	rememberedFor = time.Minute
	remembered    = 10_000
	// rememberedSenders is how many senders the lists of a remembered agent have at most. Others are looked up each time.
	rememberedSenders = 50
)

// recipients remembers whose an address was, so that RCPT needs no round trip. The transaction that stores a mail checks
// its agents again, so that a deleted agent gets none. Unknown addresses are not remembered: a new agent is known at
// once.
type recipients struct {
	mu    sync.Mutex
	known map[string]remembrance // by the folded address
	// ahead is how far the database's clock is ahead of this machine's.
	ahead time.Duration
}

type remembrance struct {
	recipient
	until time.Time
}

func (r *recipients) get(folded string, now time.Time) (found recipient, ahead time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, ok := r.known[folded]
	return one.recipient, r.ahead, ok && now.Before(one.until)
}

func (r *recipients) add(folded string, one recipient, now time.Time, ahead time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead = ahead
	if r.known == nil {
		r.known = make(map[string]remembrance)
	}
	for old := range r.known { // any
		if len(r.known) < remembered {
			break
		}
		delete(r.known, old)
	}
	r.known[folded] = remembrance{one, now.Add(rememberedFor)}
}

func (r *recipients) forget(folded string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, folded)
}
