package console

import "sync"

// maxLive bounds the open streams of one tenant, or of the operators, in a process.
const maxLive = 50

// openStreams counts the open streams by principal.
type openStreams struct {
	mu sync.Mutex
	by map[string]int
}

func (o *openStreams) open(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[key] >= maxLive {
		return false
	}
	o.by[key]++
	return true
}

func (o *openStreams) close(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[key]--; o.by[key] == 0 {
		delete(o.by, key)
	}
}
