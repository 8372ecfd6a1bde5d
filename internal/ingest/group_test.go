package ingest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAGroupFormsWhileTheOneBeforeCommits holds the first commit until the other mails wait.
func TestAGroupFormsWhileTheOneBeforeCommits(t *testing.T) {
	t.Parallel()
	started, release := make(chan []*submission), make(chan error)
	g := &group{commit: func(mails []*submission) error {
		started <- mails
		return <-release
	}}
	var wg sync.WaitGroup
	submit := func(m *submission) {
		before := len(waiting(g))
		wg.Go(func() { g.add(m) })
		require.Eventually(t, func() bool { return len(waiting(g)) > before || before == 0 }, 20*time.Second, time.Millisecond)
	}
	list := make([]*submission, 6)
	for i := range list {
		list[i] = &submission{mail: mail{size: 10}, copies: make([]copied, 1), named: make([]string, 1)}
	}
	list[3].size = groupBytes
	list[4].named = make([]string, groupedNames)
	submit(list[0])
	require.Equal(t, list[:1], <-started)
	wg.Go(func() { g.add(list[1]) })
	require.Eventually(t, func() bool { return len(waiting(g)) == 1 }, 20*time.Second, time.Millisecond)
	for _, m := range list[2:] {
		submit(m)
	}
	release <- nil
	require.Equal(t, list[1:3], <-started, "in the order of arrival, within the bound of bytes")
	release <- errors.New("refused")
	require.Equal(t, list[3:4], <-started)
	release <- nil
	require.Equal(t, list[4:5], <-started, "within the bound of locks")
	release <- nil
	require.Equal(t, list[5:], <-started)
	release <- nil
	wg.Wait()
	for i, m := range list {
		require.Equal(t, i == 1 || i == 2, m.alone, "each mail of a group that failed is committed alone")
	}
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return !g.running
	}, 20*time.Second, time.Millisecond)
}

func waiting(g *group) []*submission {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}
