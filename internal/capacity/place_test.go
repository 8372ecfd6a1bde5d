package capacity_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/capacity"
)

func tenants(n int) []capacity.Tenant {
	out := make([]capacity.Tenant, n)
	for i := range out {
		out[i] = capacity.Tenant{ID: fmt.Sprintf("ten_%032x", i), Load: 1}
	}
	return out
}

func place(t *testing.T, of []capacity.Tenant, databases ...capacity.Database) map[string]string {
	t.Helper()
	placed, err := capacity.Place(of, databases)
	require.NoError(t, err)
	out := map[string]string{}
	for i, p := range placed {
		require.Equal(t, of[i].ID, p.Tenant, "in the tenants' order")
		out[p.Tenant] = p.Database
	}
	return out
}

func TestSharesFollowTheWeights(t *testing.T) {
	t.Parallel()
	databases := []capacity.Database{{Name: "a", Weight: 1}, {Name: "b", Weight: 2}, {Name: "c", Weight: 5}}
	placed, err := capacity.Place(tenants(20_000), databases)
	require.NoError(t, err)
	sum := 0
	for _, s := range capacity.Shares(placed, databases) {
		require.InDelta(t, 1, s.OfFair, .05, s.Database)
		sum += s.Tenants
	}
	require.Equal(t, 20_000, sum)
}

func TestADatabaseMoreMovesOnlyItsShare(t *testing.T) {
	t.Parallel()
	of := tenants(9_000)
	a, b, c := capacity.Database{Name: "a", Weight: 1}, capacity.Database{Name: "b", Weight: 1}, capacity.Database{Name: "c", Weight: 1}
	before, after := place(t, of, a, b), place(t, of, c, b, a)
	moved := 0
	for id, d := range after {
		if d != before[id] {
			require.Equal(t, "c", d, "a tenant moves to the new one or not at all")
			moved++
		}
	}
	require.InDelta(t, 3000, moved, 200)
	heavier := place(t, of, capacity.Database{Name: "a", Weight: 2}, b)
	for id, d := range heavier {
		if d != before[id] {
			require.Equal(t, "a", d, "more weight takes, and gives nothing away")
		}
	}
}

func TestPlacesAreForGood(t *testing.T) {
	t.Parallel()
	// Later releases must place tenants in the same way.
	require.Equal(t, map[string]string{
		"ten_00000000000000000000000000000000": "b", "ten_00000000000000000000000000000001": "c",
		"ten_00000000000000000000000000000002": "b", "ten_00000000000000000000000000000003": "a",
	}, place(t, tenants(4), capacity.Database{Name: "a", Weight: 1}, capacity.Database{Name: "b", Weight: 1}, capacity.Database{Name: "c", Weight: 1}))
}

func TestPinsHold(t *testing.T) {
	t.Parallel()
	of := tenants(50)
	for i := range of {
		of[i].Pin = "b"
	}
	for _, d := range place(t, of, capacity.Database{Name: "a", Weight: 100}, capacity.Database{Name: "b", Weight: 1}) {
		require.Equal(t, "b", d)
	}
}

func TestBadPlacesAreRefused(t *testing.T) {
	t.Parallel()
	a := capacity.Database{Name: "a", Weight: 1}
	for _, bad := range [][]capacity.Database{nil, {a, a}, {{Name: "", Weight: 1}}, {{Name: "a"}}, {{Name: "a", Weight: -1}}} {
		_, err := capacity.Place(tenants(1), bad)
		require.ErrorIs(t, err, capacity.ErrPlaces)
	}
	one := tenants(1)
	_, err := capacity.Place(slices.Concat(one, one), []capacity.Database{a})
	require.ErrorContains(t, err, "is given twice")
	_, err = capacity.Place([]capacity.Tenant{{}}, []capacity.Database{a})
	require.ErrorContains(t, err, "has no id")
	_, err = capacity.Place([]capacity.Tenant{{ID: "x", Pin: "z"}}, []capacity.Database{a})
	require.ErrorContains(t, err, `pinned to "z"`)
}
