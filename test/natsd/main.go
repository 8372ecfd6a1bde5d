// Command natsd is an embedded NATS as a process, so that tests and benchmarks can kill it and measure
// what it uses.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/fanmail-dev/fanmail/internal/devserver"
)

func main() {
	dir := flag.String("dir", "", "where JetStream keeps its data")
	port := flag.Int("port", 0, "port on 127.0.0.1")
	sync := flag.Bool("sync", false, "write to disk before acknowledging")
	config := flag.String("config", "", "configuration file of nats-server's own kind")
	store := flag.Int64("max-store", 64<<30, "bytes that all streams may reserve, whatever the disk has free")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := devserver.StartNATS(devserver.NATSOptions{Dir: *dir, Port: *port, Sync: *sync, Config: *config, MaxStore: *store})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	<-ctx.Done()
	s.Stop()
}
