package api

import (
	"sync"

	"github.com/fanmail-dev/fanmail/events"
)

// tails counts the open tails of each tenant. Each is a consumer on the broker.
type tails struct {
	mu       sync.Mutex
	byTenant map[events.TenantID]int64
}

// open counts one more tail; false where the tenant has limit.
func (t *tails) open(id events.TenantID, limit int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTenant[id] >= limit {
		return false
	}
	t.byTenant[id]++
	return true
}

func (t *tails) count(id events.TenantID) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byTenant[id]
}

func (t *tails) close(id events.TenantID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTenant[id]--; t.byTenant[id] == 0 {
		delete(t.byTenant, id)
	}
}
