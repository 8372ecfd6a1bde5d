package main

import (
	"fmt"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is the proxy between one process and one server.
type link struct{ proxy *toxiproxy.Proxy }

// links holds all proxies: process → server → link.
type links map[string]map[string]*link

// newLink opens a proxy of the server at upstream, on a free port.
func newLink(name, upstream string) (*link, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("open the proxy %s: %w", name, err)
	}
	return &link{p}, nil
}

func (l *link) addr() string { return l.proxy.Listen }

// cut closes the connections and accepts no new ones.
func (l *link) cut() { l.proxy.Stop() }

// toxic adds a toxic to both directions.
func (l *link) toxic(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
			`{"name": %q, "type": %q, "stream": %q, "attributes": %s}`, kind+stream, kind, stream, attributes)))
		if err != nil {
			return fmt.Errorf("add a toxic to the proxy %s: %w", l.proxy.Name, err)
		}
	}
	return nil
}

// mend opens a new proxy at the same address and closes all connections of the old one.
func (l *link) mend() error { return l.lead(l.proxy.Upstream) }

// lead is mend with another server behind the proxy.
func (l *link) lead(upstream string) error {
	l.proxy.Stop()
	// Replace the proxy: removing its toxics would wait for the data that they hold back.
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), l.proxy.Name, l.proxy.Listen, upstream)
	if err := p.Start(); err != nil {
		return fmt.Errorf("replace the proxy %s: %w", l.proxy.Name, err)
	}
	l.proxy = p
	return nil
}

// of returns the links of the named processes, or of all, to servers whose name has the given prefix.
func (all links) of(server string, processes ...string) []*link {
	var out []*link
	for process, ways := range all {
		for to, l := range ways {
			if !strings.HasPrefix(to, server) {
				continue
			}
			for _, p := range processes {
				if p == process {
					out = append(out, l)
				}
			}
			if len(processes) == 0 {
				out = append(out, l)
			}
		}
	}
	return out
}
