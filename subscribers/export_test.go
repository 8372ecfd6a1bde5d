package subscribers

import (
	"context"
	"time"
)

// Forget calls forget.
func (r *Registry) Forget(ctx context.Context, known time.Duration) error {
	return r.forget(ctx, known)
}
