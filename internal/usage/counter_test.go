package usage

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// evening is half an hour before midnight.
func evening() *clock {
	return &clock{at: time.Now().UTC().Truncate(24 * time.Hour).Add(23*time.Hour + 30*time.Minute)}
}

// counter returns a counter that exchanges only if the test says so.
func counter(pool *pgxpool.Pool, at *clock) *Counter {
	c := New(pool, nil)
	c.now, c.closed = at.now, true
	return c
}

func tenant(t *testing.T, pool *pgxpool.Pool, q tenancy.Quota) events.TenantID {
	t.Helper()
	made, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "test"})
	require.NoError(t, err)
	require.NoError(t, tenancy.SetQuota(t.Context(), pool, made.ID, q))
	return made.ID
}

func stored(t *testing.T, pool *pgxpool.Pool, of events.TenantID, day time.Time) (a Amount) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(bytes), 0)::bigint
		FROM fanmail.tenant_usage WHERE tenant_id = $1 AND day = $2`, of, day).Scan(&a.Events, &a.Bytes))
	return a
}

func refused(t *testing.T, err error, quota string) {
	t.Helper()
	var over *OverError
	require.ErrorAs(t, err, &over)
	require.Equal(t, quota, over.Quota)
	require.Contains(t, err.Error(), "quota "+quota)
}

func TestConcurrentReservationsKeepTheQuotaExactly(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	c := counter(pool, at)
	small, other := tenant(t, pool, tenancy.Quota{EventsPerDay: 10}), tenant(t, pool, tenancy.Quota{})
	var taken []*Reservation
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			r, err := c.Reserve(t.Context(), small, nil, Amount{1, 5})
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			taken = append(taken, r)
		})
	}
	all.Wait()
	require.Len(t, taken, 10)
	refused(t, c.Room(t.Context(), small, 0), EventsPerDay)
	require.NoError(t, c.Room(t.Context(), other, 0))
	for i, r := range taken {
		if i < 4 {
			r.Settle(Amount{1, 5})
		} else {
			r.Settle(Amount{}) // its transaction failed
		}
	}
	used, err := c.Today(t.Context(), small)
	require.NoError(t, err)
	require.Equal(t, Amount{4, 20}, used)
	require.NoError(t, c.Room(t.Context(), small, 0))
	c.Flush(t.Context())
	require.Equal(t, Amount{4, 20}, stored(t, pool, small, at.now()))
	require.Equal(t, Amount{}, stored(t, pool, other, at.now()))
}

func TestProcessesCountTogether(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	one, two := counter(pool, at), counter(pool, at)
	of := tenant(t, pool, tenancy.Quota{EventsPerDay: 10, BytesPerDay: 100})
	for _, c := range []*Counter{one, two} {
		require.NoError(t, c.Room(t.Context(), of, 0))
		c.Add(of, Amount{2, 40})
		c.Flush(t.Context())
	}
	require.Equal(t, Amount{4, 80}, stored(t, pool, of, at.now()))
	require.NoError(t, one.Room(t.Context(), of, 60), "it does not know of the other's yet")
	at.move(2 * time.Second)
	require.NoError(t, one.Room(t.Context(), of, 1))
	one.Flush(t.Context())
	refused(t, one.Room(t.Context(), of, 21), BytesPerDay)
	require.NoError(t, one.Room(t.Context(), of, 20))

	// A change of the quota holds after an exchange too, also one below the present use.
	require.NoError(t, tenancy.SetQuota(t.Context(), pool, of, tenancy.Quota{EventsPerDay: 3}))
	at.move(2 * time.Second)
	require.NoError(t, one.Room(t.Context(), of, 1))
	one.Flush(t.Context())
	refused(t, one.Room(t.Context(), of, 1), EventsPerDay)
	require.NoError(t, tenancy.SetQuota(t.Context(), pool, of, tenancy.Quota{}))
	at.move(stale)
	require.NoError(t, one.Room(t.Context(), of, 1), "after a minute it is read at once")
}

func TestAReservationCountsOnItsDay(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	c := counter(pool, at)
	of := tenant(t, pool, tenancy.Quota{EventsPerDay: 2})
	c.Add(of, Amount{1, 1})
	r, err := c.Reserve(t.Context(), of, nil, Amount{1, 1})
	require.NoError(t, err)
	refused(t, c.Room(t.Context(), of, 0), EventsPerDay)
	before := at.now()
	at.move(time.Hour)
	require.NoError(t, c.Room(t.Context(), of, 0), "a new day")
	r.Settle(Amount{1, 1})
	c.Add(of, Amount{1, 1})
	c.Close()
	require.Equal(t, Amount{2, 2}, stored(t, pool, of, before))
	require.Equal(t, Amount{1, 1}, stored(t, pool, of, at.now()))
}

func TestNumbersDoNotOverflow(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	c := counter(pool, at)
	huge := tenant(t, pool, tenancy.Quota{EventsPerDay: math.MaxInt64, BytesPerDay: math.MaxInt64})
	other := tenant(t, pool, tenancy.Quota{})
	c.Force(huge, Amount{1, math.MaxInt64}).Settle(Amount{1, math.MaxInt64})
	c.Add(huge, Amount{1, math.MaxInt64})
	c.Add(other, Amount{1, 1})
	c.Flush(t.Context())
	c.Add(huge, Amount{1, 1})
	c.Add(other, Amount{1, 1})
	c.Flush(t.Context())
	require.Equal(t, Amount{3, math.MaxInt64}, stored(t, pool, huge, at.now()))
	require.Equal(t, Amount{2, 2}, stored(t, pool, other, at.now()))
}

func TestManyTenantsAreCountedInFewStatements(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	c := counter(pool, at)
	var all []events.TenantID
	for range 2*exchanged + 1 {
		all = append(all, events.NewRandom[events.TenantKind]())
	}
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.tenants (id, name) SELECT unnest($1::uuid[]), 'test'`, all)
	require.NoError(t, err)
	before := pool.Stat().AcquireCount()
	known, err := c.Follow(t.Context(), append(all, all...))
	require.NoError(t, err)
	require.Len(t, known, len(all))
	for _, of := range all {
		require.True(t, known[of])
		r, err := c.Reserve(t.Context(), of, nil, Amount{1, 7})
		require.NoError(t, err)
		r.Settle(Amount{1, 7})
	}
	c.Flush(t.Context())
	require.LessOrEqual(t, pool.Stat().AcquireCount()-before, int64(9))
	require.Equal(t, Amount{1, 7}, stored(t, pool, all[2*exchanged], at.now()))

	// Tenants that are not used are forgotten, and those that do not exist at once.
	known, err = c.Follow(t.Context(), []events.TenantID{events.NewRandom[events.TenantKind]()})
	require.NoError(t, err)
	require.Len(t, known, 1)
	require.Len(t, c.today, len(all))
	at.move(-forget) // stays on the same day
	for _, d := range c.today {
		d.used = at.now().Add(-2 * forget)
	}
	c.Flush(t.Context())
	require.Empty(t, c.today)
}

func TestNothingIsLostIfTheTableCannotBeWritten(t *testing.T) {
	t.Parallel()
	pool, at := pgtest.Pool(t), evening()
	c := counter(pool, at)
	of := tenant(t, pool, tenancy.Quota{EventsPerDay: 5})
	require.NoError(t, c.Room(t.Context(), of, 0))
	c.Add(of, Amount{3, 3})
	_, err := pool.Exec(t.Context(), `ALTER TABLE fanmail.tenant_usage RENAME TO away`)
	require.NoError(t, err)
	c.Flush(t.Context())
	_, err = c.Reserve(t.Context(), of, nil, Amount{2, 2})
	require.NoError(t, err)
	refused(t, c.Room(t.Context(), of, 0), EventsPerDay)
	_, err = pool.Exec(t.Context(), `ALTER TABLE fanmail.away RENAME TO tenant_usage`)
	require.NoError(t, err)
	c.Flush(t.Context())
	require.Equal(t, Amount{3, 3}, stored(t, pool, of, at.now()))
}

// A counter exchanges by itself.
func TestWhatIsCountedReachesTheTable(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	c := New(pool, nil)
	t.Cleanup(c.Close)
	of := tenant(t, pool, tenancy.Quota{})
	for n := int64(1); n <= 2; n++ {
		c.Add(of, Amount{1, 1})
		require.Eventually(t, func() bool {
			var a Amount
			err := pool.QueryRow(t.Context(), `SELECT coalesce(sum(events), 0)::bigint FROM fanmail.tenant_usage WHERE tenant_id = $1`, of).Scan(&a.Events)
			return err == nil && a.Events == n
		}, time.Minute, 20*time.Millisecond)
	}
}
