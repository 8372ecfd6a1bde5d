package agentwebhook_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestARoundAttemptsAndRecordsAllThatIsDue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const agents, each = 40, 9 // more agents, and more deliveries of each, than one claim takes
	var list []string
	for i := range agents {
		list = append(list, r.agent(fmt.Sprintf("a%d@example.com", i), fmt.Sprintf("/%d", i)))
	}
	for n := range each {
		r.send(mailTo(n, list...), list...)
	}
	r.sink.Script("/0", sink.Status(http.StatusInternalServerError))
	d := r.deliverer()
	require.NoError(t, d.Round(r.ctx()))
	require.Equal(t, agents*each, r.sink.Count(), "each delivery was attempted once")
	for i, a := range list {
		rows := r.rows(a)
		require.Len(t, rows, each)
		for _, v := range rows {
			require.Equal(t, 1, v.Attempts)
			if i > 0 {
				require.Equal(t, "delivered", v.Status)
				continue
			}
			require.Equal(t, "pending", v.Status)
			require.Greater(t, *v.NextIn, 50.0)
		}
	}
	require.NoError(t, d.Round(r.ctx()), "nothing is due")
	require.Equal(t, agents*each, r.sink.Count())

	r.sink.Script("/0", nil)
	r.makeDue()
	require.NoError(t, d.Round(r.ctx()))
	for _, v := range r.rows(list[0]) {
		require.Equal(t, "delivered", v.Status)
		require.Equal(t, 2, v.Attempts)
	}
}

func TestARoundThatIsCutShortReleasesAttemptsInFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.agent("a@example.com", "/a")
	hold := make(chan struct{})
	defer close(hold)
	r.sink.Script("/a", sink.Hang(hold))
	r.send(mailTo(1, a), a)
	ctx, stop := context.WithCancel(r.ctx())
	done := make(chan error, 1)
	go func() { done <- r.deliverer().Round(ctx) }()
	require.NoError(t, r.sink.WaitFor(r.ctx(), 1))
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
	v := r.rows(a)[0]
	require.Zero(t, v.Attempts, "the attempt does not count against the endpoint")
	require.Equal(t, "pending", v.Status)
	require.Less(t, *v.NextIn, 60.0, "due at once, not after the lease")
}
