package subscribers

import (
	"context"
	"time"
)

// Forget calls forget.
func (r *Registry) Forget(ctx context.Context, known time.Duration) error {
	return r.forget(ctx, known)
}

// Wait bounds a reading by another time than 30 s.
func (r *Registry) Wait(limit time.Duration) { r.wait = limit }
