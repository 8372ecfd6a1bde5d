package scheduler

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fanmail-dev/fanmail/events"
)

type nobody struct{}

func (nobody) mustWait(*share) bool { return false }

// poolModel says which tenants have lanes that can start, in which order the
// lanes came, and how many slots each tenant holds. It chooses by looking at
// all of them.
type poolModel struct {
	inFlight map[events.TenantID]int
	ready    map[events.TenantID][]*lane
}

func (m *poolModel) fewest() (fewest int, any bool) {
	for t, lanes := range m.ready {
		if len(lanes) > 0 && (!any || m.inFlight[t] < fewest) {
			fewest, any = m.inFlight[t], true
		}
	}
	return fewest, any
}

func TestAFreeSlotGoesToTheTenantWithTheFewestInFlight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		slots := rapid.IntRange(1, 12).Draw(rt, "slots")
		p := newPool(slots, throttle{})
		m := poolModel{inFlight: map[events.TenantID]int{}, ready: map[events.TenantID][]*lane{}}
		tenants := make([]events.TenantID, rapid.IntRange(1, 6).Draw(rt, "tenants"))
		tenantOf := map[*lane]events.TenantID{}
		for i := range tenants {
			tenants[i][0] = byte(i + 1)
		}
		var flying []*lane
		rt.Repeat(map[string]func(*rapid.T){
			"a lane can start": func(rt *rapid.T) {
				ten := rapid.SampledFrom(tenants).Draw(rt, "tenant")
				l := &lane{timer: -1}
				tenantOf[l] = ten
				p.enlist(l, p.share(ten))
				m.ready[ten] = append(m.ready[ten], l)
			},
			"a slot is given": func(rt *rapid.T) {
				fewest, some := m.fewest()
				l := p.next(nobody{})
				if !some || fewest >= slots-len(flying) {
					require.Nil(rt, l, "no lane can start, or the tenant with the fewest has as many as are free")
					return
				}
				require.NotNil(rt, l, "a slot may be given and a lane can start")
				ten := tenantOf[l]
				require.Equal(rt, fewest, m.inFlight[ten], "the tenant has the fewest in flight")
				require.Same(rt, m.ready[ten][0], l, "its lanes have their turns")
				m.ready[ten] = m.ready[ten][1:]
				m.inFlight[ten]++
				p.occupy(p.share(ten))
				flying = append(flying, l)
			},
			"an attempt ends": func(rt *rapid.T) {
				if len(flying) == 0 {
					return
				}
				i := rapid.IntRange(0, len(flying)-1).Draw(rt, "which")
				ten := tenantOf[flying[i]]
				flying = slices.Delete(flying, i, i+1)
				m.inFlight[ten]--
				p.release(p.share(ten))
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, slots-len(flying), p.free)
				for _, ten := range tenants {
					n := 0
					if s := p.shares[ten]; s != nil {
						n = s.inFlight
					}
					require.Equal(rt, m.inFlight[ten], n)
				}
			},
		})
	})
}

func TestAFloodingTenantGetsItsShareAndNoMore(t *testing.T) {
	t.Parallel()
	const slots = 40
	p := newPool(slots, throttle{})
	big, small := events.TenantID{1}, events.TenantID{2}
	for range 10_000 {
		p.enlist(&lane{timer: -1, webhook: *hook(1, 1, 1)}, p.share(big))
	}
	take := func() events.TenantID {
		l := p.next(nobody{})
		require.NotNil(t, l)
		p.occupy(p.share(l.webhook.TenantID))
		return l.webhook.TenantID
	}
	for range slots / 2 {
		require.Equal(t, big, take())
	}
	require.Nil(t, p.next(nobody{}), "alone it gets half")
	// The small tenant comes: it finds slots at once, and gets every one that
	// becomes free until the shares are even.
	for range slots {
		p.enlist(&lane{timer: -1, webhook: *hook(2, 2, 1)}, p.share(small))
	}
	for range slots / 4 {
		require.Equal(t, small, take())
	}
	require.Nil(t, p.next(nobody{}), "the last slots are for a third")
	for p.share(big).inFlight > p.share(small).inFlight+1 {
		p.release(p.share(big))
		if p.share(small).inFlight < p.free {
			require.Equal(t, small, take())
		}
	}
	require.InDelta(t, slots/3, p.share(small).inFlight, 1, "two tenants get a third each, and a third is free")
}
