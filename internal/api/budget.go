package api

import (
	"sync"

	"github.com/fanmail-dev/fanmail/events"
)

// The memory for attachments: raw messages and their decoded parts, in bytes,
// until the client has read them. A tenant has a share of its own, so that slow
// clients of one tenant do not use up all of it.
const (
	attachmentBytes       = 512 << 20
	tenantAttachmentBytes = 128 << 20
)

// memoryBudget counts the bytes that each tenant holds.
type memoryBudget struct {
	mu     sync.Mutex
	total  int64
	tenant map[events.TenantID]int64
}

func newMemoryBudget() *memoryBudget {
	return &memoryBudget{tenant: make(map[events.TenantID]int64)}
}

// take reserves n bytes; ok is false where the budget is exhausted. A message
// above the limit passes if the tenant, and the process, hold nothing else.
func (b *memoryBudget) take(t events.TenantID, n int64) (release func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if held := b.tenant[t]; held > 0 && held+n > tenantAttachmentBytes || b.total > 0 && b.total+n > attachmentBytes {
		return nil, false
	}
	b.total += n
	b.tenant[t] += n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.total -= n
		if b.tenant[t] -= n; b.tenant[t] == 0 {
			delete(b.tenant, t)
		}
	}, true
}
