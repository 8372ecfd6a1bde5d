package main

import (
	"fmt"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is the way from one process to one server.
type link struct{ proxy *toxiproxy.Proxy }

// links are all ways of all processes: process → server → way.
type links map[string]map[string]*link

// newLink opens a way to the server at upstream, on a free port.
func newLink(name, upstream string) (*link, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("open the way %s: %w", name, err)
	}
	return &link{p}, nil
}

func (l *link) addr() string { return l.proxy.Listen }

// cut closes the connections and takes no new ones.
func (l *link) cut() { l.proxy.Stop() }

// toxic adds a toxic to both directions.
func (l *link) toxic(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
			`{"name": %q, "type": %q, "stream": %q, "attributes": %s}`, kind+stream, kind, stream, attributes)))
		if err != nil {
			return fmt.Errorf("make the way %s worse: %w", l.proxy.Name, err)
		}
	}
	return nil
}

// mend opens a new way at the same address. Connections that suffered are
// closed: those that come after find nothing of what was.
func (l *link) mend() error { return l.lead(l.proxy.Upstream) }

// lead is mend, and has the way lead to another server.
func (l *link) lead(upstream string) error {
	l.proxy.Stop()
	// Not the old one without its toxics: taking them off waits for what they
	// hold back.
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), l.proxy.Name, l.proxy.Listen, upstream)
	if err := p.Start(); err != nil {
		return fmt.Errorf("open the way %s again: %w", l.proxy.Name, err)
	}
	l.proxy = p
	return nil
}

// of gives the ways of the named processes (none: all) to servers whose name
// begins with the given text.
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
