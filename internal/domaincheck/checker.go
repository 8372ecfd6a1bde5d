package domaincheck

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/internal/mailauth"
)

// Timeout bounds [Check].
const Timeout = 2 * time.Minute

const (
	// talkTimeout bounds one SMTP conversation. Some servers delay their greeting for
	// 10 s or more to find out clients that do not wait.
	talkTimeout = 45 * time.Second
	dialTimeout = 10 * time.Second

	maxHosts     = 10 // MX hosts that are looked at
	maxAddresses = 4  // addresses of a host

	smtpPort = 25
)

const dnsFix = "check the DNS servers of the domain, and this machine's resolver (--dns-server, FANMAIL_DNS_SERVER)"

// Config configures [Check]. The zero value asks the system's DNS servers and port 25.
type Config struct {
	// DNSServer is asked, "host:port"; empty: the system's servers.
	DNSServer string
	// Port is the port of SMTP servers; 0: 25. Only tests set another.
	Port uint16
	// Roots are the authorities to trust; nil: the system's.
	Roots *x509.CertPool
	// Waiting is called before each wait with what it is for. It may be nil. It is called
	// by several goroutines.
	Waiting func(what string)
}

// checker makes the checks of one domain.
type checker struct {
	Config
	domain string
	dns    *net.Resolver
	auth   *mailauth.Checker
}

// inOrder checks many things at once, and returns the findings in the order of the things.
func inOrder[T any](things []T, check func(r *report, thing T)) report {
	parts := make([]report, len(things))
	var all sync.WaitGroup
	for i, thing := range things {
		all.Go(func() { check(&parts[i], thing) })
	}
	all.Wait()
	return slices.Concat(parts...)
}

func (k *checker) waiting(format string, args ...any) {
	if k.Waiting != nil {
		k.Waiting(fmt.Sprintf(format, args...))
	}
}

// lookUp bounds one lookup. The final dot keeps the resolver from the search list of
// resolv.conf.
func lookUp[T any](ctx context.Context, k *checker, what, host string, ask func(ctx context.Context, fqdn string) (T, error)) (T, error) {
	k.waiting("DNS: %s of %s", what, name(host))
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return ask(ctx, strings.TrimSuffix(host, ".")+".")
}
