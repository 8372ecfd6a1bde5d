package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// status serves /healthz, /readyz, /metrics and /loglevel of a process.
type status struct {
	// phase says what the process waits for; "" while it works.
	phase atomic.Pointer[string]
	check atomic.Pointer[func(context.Context) error]
}

// set sets the phase.
func (s *status) set(phase string) { s.phase.Store(&phase) }

// working makes the process ready while check returns nil.
func (s *status) working(check func(context.Context) error) {
	s.check.Store(&check)
	s.set("")
}

// ready returns nil while the process works, or an error with the reason.
func (s *status) ready(ctx context.Context) error {
	if phase := s.phase.Load(); phase == nil {
		return errors.New("starting")
	} else if *phase != "" {
		return errors.New(*phase)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Second, errors.New("no answer within 3 s"))
	defer cancel()
	return (*s.check.Load())(ctx)
}

func (s *status) handler(registry *prometheus.Registry, log *zap.Logger, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready(r.Context()); err != nil {
			http.Error(w, oneLine(err), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	if c, ok := log.Core().(adjustable); ok {
		// GET returns the level, PUT sets it: level=debug, or {"level":"debug"}.
		mux.Handle("GET /loglevel", c.level)
		mux.Handle("PUT /loglevel", fromHere(c.level))
	}
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return withoutSlowBodies(mux)
}

// fromHere serves clients on this machine alone. A request that a proxy passes on
// comes from here too, so its headers must name none. A service mesh's sidecar
// connects from 127.0.0.6, which is why not all of 127.0.0.0/8 will do.
func fromHere(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		addr := from.Addr().Unmap()
		local := err == nil && (addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr == netip.IPv6Loopback())
		for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Real-Ip"} {
			local = local && r.Header.Get(name) == ""
		}
		if !local {
			http.Error(w, "the level is set on the machine itself: call 127.0.0.1, run kubectl port-forward, or use --log-level-file", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// statusBodyTimeout is how long a client may take to send a body to the status
// server, and statusBodyBytes its largest size.
const (
	statusBodyTimeout = 5 * time.Second
	statusBodyBytes   = 4 << 10
)

// withoutSlowBodies bounds the reading of a request's body. Whatever of the body
// is unread after the response closes the connection.
func withoutSlowBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(statusBodyTimeout))
			defer func() { _ = control.SetReadDeadline(time.Now()) }()
			w.Header().Set("Connection", "close")
			r.Body = http.MaxBytesReader(w, r.Body, statusBodyBytes)
		}
		h.ServeHTTP(w, r)
	})
}

// listen opens a TCP port. If the port is in use, the error names flag and env.
func listen(ctx context.Context, addr, flag, env string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, portError(err, addr, flag, env)
	}
	return l, nil
}

func portError(err error, addr, flag, env string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use: stop what listens there, or give another address with %s (%s)", addr, flag, env)
	}
	return fmt.Errorf("listen on %s, from %s (%s): %w", addr, flag, env, err)
}

// serveHTTP serves until ctx ends, then finishes open requests within drain.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, drain time.Duration, log *zap.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(log),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		err := srv.Shutdown(ctx)
		if err != nil {
			_ = srv.Close()
		}
		stopped <- err
	})
	err := srv.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	if err := <-stopped; err != nil {
		log.Warn("closed requests that did not end in time", zap.Error(err))
	}
	return nil
}
