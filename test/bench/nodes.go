package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/test/process"
)

// productionNodes is how many NATS servers a production system has.
const productionNodes = 3

// replicated returns the workloads, and after W1, W1b and W3b the same on three NATS servers. Those two are a group, so
// that they run in turn and are compared.
func replicated(all []Workload) []Workload {
	var out []Workload
	for _, w := range all {
		if !slices.Contains([]string{"W1", "W1b", "W3b"}, w.Name) {
			out = append(out, w)
			continue
		}
		w.Group = w.Name + "-nodes"
		more := w
		more.Name, more.About = w.Name+"-r3", w.About+", three NATS servers, three replicas"
		more.Endpoints = slices.Clone(w.Endpoints)
		more.Nodes, more.Only, more.FullOnly = productionNodes, "fanmail", true
		out = append(out, w, more)
	}
	return out
}

// startBroker starts so many NATS servers, which write to disk before they acknowledge. Several are a cluster. It returns
// their URLs, joined by commas.
func (f *Fanmail) startBroker(ctx context.Context, dir string, nodes int) (string, error) {
	clients, routes := make([]string, nodes), make([]string, nodes)
	for i := range nodes {
		var errs [2]error
		clients[i], errs[0] = process.FreeAddr()
		routes[i], errs[1] = process.FreeAddr()
		if err := errors.Join(errs[:]...); err != nil {
			return "", err
		}
	}
	for i := range nodes {
		_, port, err := net.SplitHostPort(clients[i])
		if err != nil {
			return "", err
		}
		name := part("natsd", i)
		args := []string{"-dir", filepath.Join(dir, name), "-port", port, "-sync"}
		if nodes > 1 {
			config := filepath.Join(dir, name+".conf")
			if err := os.WriteFile(config, nodeConfig(name, i, routes), 0o600); err != nil {
				return "", fmt.Errorf("configure NATS: %w", err)
			}
			args = append(args, "-config", config)
		}
		if err := f.run(ctx, dir, name, clients[i], args, nil); err != nil {
			return "", err
		}
	}
	urls := "nats://" + strings.Join(clients, ",nats://")
	if nodes == 1 {
		return urls, nil
	}
	return urls, awaitCluster(ctx, urls)
}

// part names the i-th process of a kind.
func part(kind string, i int) string {
	if i == 0 {
		return kind
	}
	return fmt.Sprintf("%s-%d", kind, i+1)
}

// nodeConfig is the configuration of the i-th node of a cluster.
func nodeConfig(name string, i int, routes []string) []byte {
	var others []string
	for j, r := range routes {
		if j != i {
			others = append(others, "nats://"+r)
		}
	}
	return fmt.Appendf(nil, "server_name: %s\ncluster { name: bench, listen: %q, routes: [%s] }\n", name, routes[i], strings.Join(others, ", "))
}

// awaitCluster waits until JetStream has a leader.
func awaitCluster(ctx context.Context, urls string) error {
	nc, err := nats.Connect(urls)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("connect to JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = backoff.Retry(func() error {
		asking, cancel := context.WithTimeout(ctx, time.Second) // nobody answers while there is no leader
		defer cancel()
		_, err := js.AccountInfo(asking)
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
	if err != nil {
		return fmt.Errorf("the NATS cluster did not become ready: %w", err)
	}
	return nil
}
