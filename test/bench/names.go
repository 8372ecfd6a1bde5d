package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/fanmail-dev/fanmail/internal/app"
)

// namesGroup is the group of the workloads whose endpoints are HTTPS servers with names.
const namesGroup = "names"

// zone is where their names are. A DNS server in the receiver's process knows it.
const zone = "bench.example."

// Names is how HTTPS endpoints with names are reached.
type Names struct {
	// Idle is how long the servers keep a connection that has no request.
	Idle time.Duration
	// DNS is the address of the server that knows the names, and Roots the file of their certificates' authority. Both are
	// set when the receiver runs.
	DNS, Roots string
}

func (n *Names) used() bool { return n.Idle > 0 }

// The environment of a process that POSTs to such endpoints. Go's crypto/x509 reads the second one.
const (
	namesDNS   = "BENCH_DNS_ADDR"
	namesRoots = "SSL_CERT_FILE"
)

// env is the environment of a process that POSTs to the endpoints; nil if they have no names.
func (n *Names) env() []string {
	if !n.used() {
		return nil
	}
	return []string{namesDNS + "=" + n.DNS, namesRoots + "=" + n.Roots}
}

// useNames makes this process ask the bench's DNS server, if there is one.
func useNames() {
	addr := os.Getenv(namesDNS)
	if addr == "" {
		return
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", addr)
	}}
}

// dispatcherCommand is the argument that makes this program the dispatcher, with the bench's DNS server.
const dispatcherCommand = "dispatcher"

// dispatch is cmd/dispatcher. It returns the exit code.
func dispatch() int {
	useNames()
	os.Args = os.Args[:1]
	return app.Main("dispatcher", app.RunDispatcher)
}

// names returns those workloads: each of 1,000 names gets an event every five seconds. The connections are kept, or the
// servers close them before the next event.
func names(pick func(full, short int) int) []Workload {
	endpoints := each("names", 1000, Answer{})
	for i := range endpoints {
		endpoints[i].Host = fmt.Sprintf("n%d.%s", i, zone[:len(zone)-1])
	}
	base := Workload{
		Group: namesGroup, Turns: inTurn(endpoints), Events: 200 * pick(60, 10), Batch: 1, Rate: 200, Warm: 1,
		Rounds: 1, Patience: time.Minute, FullOnly: true,
	}
	var out []Workload
	for _, of := range []struct {
		name, about string
		idle        time.Duration
	}{
		{"names-kept", "connections are kept", time.Hour},
		{"names-closed", "servers close idle connections after 2 s", 2 * time.Second},
	} {
		w := base
		w.Name, w.About = of.name, "200 events a second to 1,000 HTTPS servers with names, "+of.about
		w.Endpoints = append([]Endpoint(nil), endpoints...)
		w.Names.Idle = of.idle
		out = append(out, w)
	}
	return out
}
