package api

import (
	"sync"

	"github.com/fanmail-dev/fanmail/events"
)

// openCounts counts what each tenant has open in this process: tails, or lookups of records.
type openCounts struct {
	mu       sync.Mutex
	byTenant map[events.TenantID]int64
}

// open counts one more; false where the tenant has limit.
func (t *openCounts) open(id events.TenantID, limit int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTenant[id] >= limit {
		return false
	}
	t.byTenant[id]++
	return true
}

func (t *openCounts) count(id events.TenantID) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byTenant[id]
}

func (t *openCounts) close(id events.TenantID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byTenant[id]--; t.byTenant[id] == 0 {
		delete(t.byTenant, id)
	}
}
