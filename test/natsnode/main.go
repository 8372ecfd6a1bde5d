// Command natsnode is one node of a NATS cluster with JetStream, on loopback, as a process that can be
// killed.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	name := flag.String("name", "", "name of the node")
	dir := flag.String("dir", "", "where JetStream keeps its data")
	port := flag.Int("port", 0, "clients' port on 127.0.0.1")
	clusterPort := flag.Int("cluster-port", 0, "the other nodes' port on 127.0.0.1")
	routes := flag.String("routes", "", "host:port of the ways to the other nodes, with commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	o := &server.Options{
		ServerName: *name, Host: "127.0.0.1", Port: *port, JetStream: true, StoreDir: *dir, NoSigs: true,
		// Otherwise the limits follow what is free on the disk and in memory as the node starts, and streams
		// that fitted before do not fit after it has started again.
		JetStreamMaxStore: 64 << 30, JetStreamMaxMemory: 4 << 30,
		// Clients and nodes connect through proxies and must not learn ways around them. So nodes
		// advertise a port on which nobody listens.
		Cluster: server.ClusterOpts{Name: "chaos", Host: "127.0.0.1", Port: *clusterPort, NoAdvertise: true, Advertise: "127.0.0.1:1", PoolSize: -1},
	}
	for _, r := range strings.Split(*routes, ",") {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
	}
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		fmt.Fprintln(os.Stderr, "not ready within 20 s")
		os.Exit(1)
	}
	// SIGUSR1 takes all of the account's storage, and SIGUSR2 gives it back.
	limits := make(chan os.Signal, 1)
	signal.Notify(limits, syscall.SIGUSR1, syscall.SIGUSR2)
	for working := true; working; {
		select {
		case <-ctx.Done():
			working = false
		case sig := <-limits:
			var limit map[string]server.JetStreamAccountLimits // nil: those of the server
			if sig == syscall.SIGUSR1 {
				limit = map[string]server.JetStreamAccountLimits{"": {MaxMemory: 1, MaxStore: 1, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1}}
			}
			if err := s.GlobalAccount().UpdateJetStreamLimits(limit); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	s.Shutdown()
	s.WaitForShutdown()
}
