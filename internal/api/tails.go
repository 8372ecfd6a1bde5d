package api

import (
	"sync"

	"github.com/fanmail-dev/fanmail/events"
)

// maxTails is how many tails a key may have open in one process. Each is a
// consumer on the broker.
const maxTails = 8

// tails counts the open tails of each key.
type tails struct {
	mu    sync.Mutex
	byKey map[events.APIKeyID]int
}

// open counts one more tail; false where the key has [maxTails].
func (t *tails) open(id events.APIKeyID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byKey[id] >= maxTails {
		return false
	}
	t.byKey[id]++
	return true
}

func (t *tails) close(id events.APIKeyID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byKey[id]--; t.byKey[id] == 0 {
		delete(t.byKey, id)
	}
}
