package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

func TestATenantHoldsItsShareOfMemoryAndNoMore(t *testing.T) {
	t.Parallel()
	s := newMemoryBudget()
	a, b := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	first, ok := s.take(a, tenantAttachmentBytes)
	require.True(t, ok)
	_, ok = s.take(a, 1)
	require.False(t, ok)
	second, ok := s.take(b, tenantAttachmentBytes+1)
	require.True(t, ok, "a message passes whatever its size if the tenant holds nothing else")
	_, ok = s.take(events.NewRandom[events.TenantKind](), attachmentBytes)
	require.False(t, ok)
	first()
	again, ok := s.take(a, tenantAttachmentBytes)
	require.True(t, ok)
	second()
	again()
	require.Zero(t, s.total)
	require.Empty(t, s.tenant)
}
