package e2e_test

import (
	"context"
	"encoding/hex"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// spans is an OTLP endpoint over gRPC that collects what the processes export.
type spans struct {
	collector.UnimplementedTraceServiceServer
	addr string

	mu  sync.Mutex
	all map[string]span // by span id
}

// span holds what the tests compare.
type span struct {
	*tracev1.Span
	service string
}

func collect(t testing.TB) *spans {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &spans{addr: l.Addr().String(), all: map[string]span{}}
	srv := grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, c)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		require.NoError(t, <-done)
	})
	return c
}

// Export accepts what a process sends.
func (c *spans) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range in.GetResourceSpans() {
		service := attribute(r.GetResource().GetAttributes(), "service.name")
		for _, s := range r.GetScopeSpans() {
			for _, sp := range s.GetSpans() {
				c.all[hex.EncodeToString(sp.GetSpanId())] = span{sp, service}
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// trace returns the spans of one trace by their ids.
func (c *spans) trace(id string) map[string]span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]span{}
	for k, s := range c.all {
		if hex.EncodeToString(s.GetTraceId()) == id {
			found[k] = s
		}
	}
	return found
}

// ancestry names the span and its ancestors, from the root on. A parent that was not collected shows
// as "?".
func ancestry(of map[string]span, id string) []string {
	s, ok := of[id]
	if !ok {
		return []string{"?"}
	}
	if len(s.GetParentSpanId()) == 0 {
		return []string{s.GetName()}
	}
	return append(ancestry(of, hex.EncodeToString(s.GetParentSpanId())), s.GetName())
}
