package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// An attack is a client that does its worst beside the honest senders. It has no key, or one of a tenant of its own.
// Attacks come one by one after all faults, so that the checker can compare the honest senders with the time before.

const (
	attackLasts = 16 * time.Second
	longAttack  = time.Minute
	// attackAfter is how long the system has before each to recover from what was before, and attackCalm the time after
	// that which the attack is compared with.
	attackAfter = 3 * time.Second
	attackCalm  = 10 * time.Second

	// doorMemory is the memory limit of the processes that strangers reach, and doorBuffered the ingest's limit of
	// unfinished mails in temporary files. Attackers send more than both.
	doorMemory   = 256 << 20
	doorBuffered = 256 << 20
)

// The attacks.
const (
	attackBombs    = "attack.nested mails"
	attackHoarders = "attack.hoarders"
	attackProbes   = "attack.probes"
	attackSlow     = "attack.slow bodies"
)

// attacks returns the attacks of a run, which may be long.
func attacks(long bool) []fault {
	lasts := attackLasts
	if long {
		lasts = longAttack
	}
	return []fault{
		{attackBombs, "ingest", besiege(attackBombs, history.ViaSMTP, lasts, (*attacker).bombs)},
		{attackHoarders, "ingest", besiege(attackHoarders, history.ViaSMTP, lasts, (*attacker).hoarders)},
		{attackProbes, "ingest", besiege(attackProbes, history.ViaSMTP, lasts, (*attacker).probes)},
		{attackSlow, "api", besiege(attackSlow, history.ViaAPI, lasts, (*attacker).slowBodies)},
	}
}

// attacker is one attack while it lasts.
type attacker struct {
	r     *rig
	lasts time.Duration
	group sync.WaitGroup

	mu     sync.Mutex
	did    history.Attack
	failed error // the attack was not the one that was meant
}

// besiege waits for the calm before, attacks, and records what happened.
func besiege(name, via string, lasts time.Duration, begin func(*attacker, context.Context)) doing {
	return func(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
		a := &attacker{r: r, lasts: lasts, did: history.Attack{Name: name, Via: via, Calm: r.now(), Limit: doorMemory}}
		last(ctx, attackCalm)
		process := "ingest"
		if via == history.ViaAPI {
			process = "api"
		}
		during, over := context.WithTimeout(ctx, lasts)
		defer over()
		a.did.Start = r.now()
		begin(a, during)
		err := a.weigh(during, r.get(process).PID())
		over()
		a.group.Wait()
		a.did.End = a.did.Start + lasts.Microseconds()
		r.history.Append(history.Record{Kind: history.KindAttack, Attack: &a.did})
		return fmt.Sprintf("%d requests", a.did.Sent), errors.Join(err, a.failed)
	}
}

// weigh records the largest memory of a process until ctx ends. What is read from its program file does not count.
func (a *attacker) weigh(ctx context.Context, pid int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return fmt.Errorf("read the memory of the attacked process: %w", err)
		}
		_, after, _ := strings.Cut(string(text), "\nRssAnon:")
		size, _, _ := strings.Cut(strings.TrimSpace(after), " ")
		kib, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return fmt.Errorf("read the memory of the attacked process: %w", err)
		}
		a.count(func(did *history.Attack) { did.Memory = max(did.Memory, kib<<10) })
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *attacker) count(f func(*history.Attack)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.did)
}

func (a *attacker) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = err
	}
}

// loop runs copies of do, each again and again with a pause between, until ctx ends.
func (a *attacker) loop(ctx context.Context, copies int, pause time.Duration, do func(ctx context.Context, i int)) {
	for i := range copies {
		a.group.Go(func() {
			for ctx.Err() == nil {
				do(ctx, i)
				last(ctx, pause)
			}
		})
	}
}

// dial connects from an address of this machine that is not the honest senders'. The connection closes with ctx.
func (a *attacker) dial(ctx context.Context, from, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: a.lasts}
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

// ended records how a request ended that began at some time: with an answer, or with err. A request that waits as the
// attack ends is not answered only if it had half of the attack's time.
func (a *attacker) ended(ctx context.Context, began time.Time, err error) {
	a.count(func(did *history.Attack) {
		switch {
		case err == nil:
			did.Answered++
		case ctx.Err() == nil:
			did.Cut++
		case time.Since(began) > a.lasts/2:
			did.Unanswered++
		}
	})
}
