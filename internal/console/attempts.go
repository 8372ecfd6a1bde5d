package console

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of attempts to sign in that fail, for one client address. There is none for all addresses together: strangers
// could use it up and keep everybody out, and keys and links are too long to be guessed.
const (
	attemptsBurst = 10
	attemptsEvery = 6 * time.Second
	// maxAddresses bounds the memory for addresses.
	maxAddresses = 10_000
)

// attempts limits attempts to sign in. An IPv6 client counts by its /64.
type attempts struct {
	mu      sync.Mutex
	address map[netip.Prefix]*rate.Limiter
}

func newAttempts() *attempts {
	return &attempts{address: map[netip.Prefix]*rate.Limiter{}}
}

// take counts an attempt. It returns how long the client has to wait, 0 if it may try.
func (a *attempts) take(address netip.Addr, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	from := network(address)
	own := a.address[from]
	if own == nil {
		a.forget(now)
		own = rate.NewLimiter(rate.Every(attemptsEvery), attemptsBurst)
		a.address[from] = own
	}
	reserved := own.ReserveN(now, 1)
	wait := reserved.DelayFrom(now)
	if wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}

// seconds is a wait as a header states it: rounded up.
func seconds(wait time.Duration) string { return strconv.Itoa(int(math.Ceil(wait.Seconds()))) }

// spent returns how long a client without attempts has to wait, 0 if it has some.
func (a *attempts) spent(client netip.Addr, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.address[network(client)]; l != nil && l.TokensAt(now) < 1 {
		return time.Duration((1 - l.TokensAt(now)) / float64(l.Limit()) * float64(time.Second))
	}
	return 0
}

// passed gives the attempt of a client that has signed in back.
func (a *attempts) passed(address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.address, network(address))
}

// forget removes addresses that have all their attempts again, when there are many; if all
// are in use, it removes any.
func (a *attempts) forget(now time.Time) {
	if len(a.address) < maxAddresses {
		return
	}
	for p, l := range a.address {
		if l.TokensAt(now) >= attemptsBurst {
			delete(a.address, p)
		}
	}
	for p := range a.address {
		if len(a.address) < maxAddresses {
			return
		}
		delete(a.address, p)
	}
}

// network is what a client is counted by; zero for an address that is not known.
func network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}
