// Command serve answers DNS on a loopback port from a zone file, which it reads anew for each question. It prints its
// address. The lines of the file are "name. TYPE value".
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/fanmail-dev/fanmail/test/dnstest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: serve ZONEFILE")
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	s, err := dnstest.Start(func(name, kind string) (records []string, exists bool) { return read(os.Args[1], name, kind) })
	if err != nil {
		return err
	}
	fmt.Println(s.Addr)
	<-stop
	return s.Close()
}

// read returns the records of a name and a type. Without the file the server fails.
func read(path, name, kind string) (records []string, exists bool) {
	f, err := os.Open(path) //nolint:gosec // the caller's choice
	if err != nil {
		return []string{dnstest.ServFail}, true
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.SplitN(lines.Text(), " ", 3)
		if len(fields) != 3 || fields[0] != name {
			continue
		}
		exists = true
		if fields[1] == kind {
			records = append(records, fields[2])
		}
	}
	return records, exists
}
