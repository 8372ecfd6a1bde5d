package app

import (
	"context"
	"encoding/json"
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

	"github.com/fanmail-dev/fanmail/internal/health"
)

// status serves /healthz, /readyz, /metrics and /loglevel of a process.
type status struct {
	condition *condition
	// phase says what the process waits for; "" while it works.
	phase atomic.Pointer[string]
}

// set sets the phase; "" makes the process ready while its components allow it.
func (s *status) set(phase string) { s.phase.Store(&phase) }

// readiness returns how the process stands.
func (s *status) readiness() readiness {
	phase := "starting"
	if p := s.phase.Load(); p != nil {
		phase = *p
	}
	if phase == "" {
		return s.condition.readiness()
	}
	r := readiness{Process: s.condition.process, Status: readyNot, Reason: phase, Components: s.condition.registry.States()}
	for _, c := range r.Components {
		if c.Error != "" && c.Status == health.Failing {
			r.Reason += "; " + c.Line(time.Now())
		}
	}
	return r
}

// ready returns an error with the reason while the process can't do its work.
func (s *status) ready(context.Context) error {
	if r := s.readiness(); r.Status == readyNot {
		return errors.New(r.Reason)
	}
	return nil
}

// serveReady answers 200 also while the process is degraded: another replica would be
// no better, and a rollout must be able to go on.
func (s *status) serveReady(w http.ResponseWriter, _ *http.Request) {
	r := s.readiness()
	b, err := json.Marshal(r)
	if err != nil {
		http.Error(w, oneLine(err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Status == readyNot {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(b, '\n'))
}

func (s *status) handler(registry *prometheus.Registry, log *zap.Logger, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.serveReady)
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
	err := srv.Serve(whileTaken(l, stallTimeout))
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	if err := <-stopped; err != nil {
		log.Warn("closed requests that did not end in time", zap.Error(err))
	}
	return nil
}
