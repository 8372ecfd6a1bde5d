package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// recorder is a rig that has only its history.
func recorder(t *testing.T) (*rig, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	h, err := history.Create(path)
	require.NoError(t, err)
	return &rig{history: h, began: time.Now(), say: func(string, ...any) {}}, path
}

func TestLaneMakesEachFaultOnceBeforeAnyTwiceAndBySeed(t *testing.T) {
	t.Parallel()
	order := func(seed uint64) []string {
		r, path := recorder(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var made []string
		var faults []fault
		for n := range 6 {
			faults = append(faults, fault{fmt.Sprint(n), "x", func(context.Context, *rig, *rand.Rand) (string, error) {
				if made = append(made, fmt.Sprint(n)); len(made) == 12 {
					cancel()
				}
				return "", nil
			}})
		}
		require.NoError(t, lane{"test", faults, time.Millisecond}.run(ctx, r, rand.New(rand.NewPCG(seed, 0))))
		require.NoError(t, r.history.Close())
		records, err := history.Read(path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(records), 12, "each is in the history")
		require.ElementsMatch(t, made[:6], made[6:12])
		return made[:12]
	}
	first := order(1)
	require.Equal(t, first, order(1))
	require.NotEqual(t, first, order(2))
}

func TestLaneEndsWithAFaultThatCanNotBeMended(t *testing.T) {
	t.Parallel()
	r, _ := recorder(t)
	broken := errors.New("it will not start")
	err := lane{"test", []fault{{"kill", "x", func(context.Context, *rig, *rand.Rand) (string, error) { return "", broken }}}, time.Millisecond}.
		run(t.Context(), r, rand.New(rand.NewPCG(1, 0)))
	require.ErrorIs(t, err, broken)
	require.NoError(t, r.history.Close())
}

func TestWayIsCutWorsenedAndMended(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = fmt.Fprintln(c, "hello")
				_, _ = io.Copy(io.Discard, c) // until the client disconnects
				_ = c.Close()
			}()
		}
	}()
	l, err := newLink("a to b", server.Addr().String())
	require.NoError(t, err)
	at := l.addr()
	t.Cleanup(l.cut)
	hello := func(patience time.Duration) error {
		c, err := net.Dial("tcp", at)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err = bufio.NewReader(c).ReadString('\n')
		return err
	}
	require.NoError(t, hello(time.Minute))
	l.cut()
	require.Error(t, hello(time.Minute), "nobody listens")
	require.NoError(t, l.mend())
	require.NoError(t, hello(time.Minute))
	require.NoError(t, l.toxic("timeout", `{"timeout": 0}`))
	var late net.Error
	require.ErrorAs(t, hello(300*time.Millisecond), &late, "nothing comes through, and nobody says so")
	require.NoError(t, l.mend())
	require.NoError(t, hello(time.Minute))
	require.Error(t, l.toxic("no such toxic", `{}`))
}

func TestWaysAreFoundByServerAndProcess(t *testing.T) {
	t.Parallel()
	all := links{"api": {"postgres": {}, "nats-1": {}, "nats-2": {}}, "ingest": {"postgres": {}, "nats-1": {}, "nats-2": {}}}
	require.Len(t, all.of("postgres"), 2)
	require.Len(t, all.of("nats"), 4)
	require.Len(t, all.of("nats", "ingest"), 2)
	require.Empty(t, all.of("postgres", "nobody"))
}
