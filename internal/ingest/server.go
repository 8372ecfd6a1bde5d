package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/internal/mailauth"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Server takes mail over SMTP. Create one with [NewServer].
type Server struct {
	*receiver
	smtp   *smtp.Server
	secure *smtp.Server // serves the connections after STARTTLS
	gate   *gate
	stop   context.CancelFunc // ends receiver.work
}

// NewServer creates a server that commits mails to the database. Hints for the relay go
// to nc, which may be nil. A setting that cannot be used is an [*OptionError]. It opens
// nothing yet.
func NewServer(pool *pgxpool.Pool, nc *nats.Conn, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	s.pool, s.nc, s.waker, s.usage = pool, nc, outbox.NewWaker(nc), s.o.Usage
	if s.usage == nil {
		s.usage = usage.New(pool, nil)
	}
	s.to = s.receiver
	s.group.commit = s.commitGroup
	connections := int32(0)
	if pool != nil { // nil: no recipient can be looked up
		connections = pool.Stat().MaxConns()
	}
	s.alone = semaphore.NewWeighted(int64(max(1, connections-2)))
	if s.o.Authenticate {
		s.checker = mailauth.New(s.o.Domain, s.o.DNSServer, s.o.AuthTimeout)
	}
	return s, nil
}

func newServer(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &receiver{
		o: o, log: o.Log.Named("smtp"), m: newMetrics(o.Registerer),
		small: semaphore.NewWeighted(smallBytes), large: semaphore.NewWeighted(largeBytes),
		heldSmall: semaphore.NewWeighted(heldSmallBytes), heldLarge: semaphore.NewWeighted(heldLargeBytes),
	}
	var stop context.CancelFunc
	r.work, stop = context.WithCancel(context.Background())
	r.transfers = newTransfers(o.MaxBufferedBytes, o.MaxMessageBytes, func() { r.m.evicted.WithLabelValues(evictedTransfer).Inc() })
	r.m.watch(o.Registerer, r.transfers.held)
	if len(o.Milters) > 0 {
		r.milters = r.newMilters()
	}
	return &Server{receiver: r, smtp: r.library(o.TLS), secure: r.library(nil), stop: stop}, nil
}

// library returns the library's server. It offers STARTTLS with a cfg, but never does it: see [conn.ready].
func (s *receiver) library(cfg *tls.Config) *smtp.Server {
	srv := smtp.NewServer(smtp.BackendFunc(s.newSession))
	srv.Domain = s.o.Domain
	srv.TLSConfig = cfg
	srv.MaxMessageBytes = s.o.MaxMessageBytes
	srv.MaxRecipients = s.o.MaxRecipients
	srv.ReadTimeout, srv.WriteTimeout = s.o.ReadTimeout, s.o.WriteTimeout
	srv.EnableSMTPUTF8 = true
	// Mails with overlong lines are accepted. The gate ends overlong commands.
	srv.MaxLineLength = 0
	srv.ErrorLog = zap.NewStdLog(s.log)
	return srv
}

// Listen opens the port, so that [Server.Addr] is known before [Server.Run].
func (s *Server) Listen() error {
	probe := spool{dir: s.o.SpoolDir}
	defer probe.close()
	if err := probe.create(); err != nil {
		return fmt.Errorf("ingest SpoolDir %q: %w", s.o.SpoolDir, err)
	}
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", s.o.Addr)
	if err != nil {
		return fmt.Errorf("ingest Addr: %w", err)
	}
	s.gate = newGate(l, s.o.MaxConnections, s.o.TLS, connOptions{
		host:        s.o.Domain,
		maxCommands: maxCommands + s.o.MaxRecipients, writing: s.o.WriteTimeout, delay: s.o.Tarpit, window: s.o.EvictAfter, refuse: s.m.refuse, delayed: s.m.delayed.Inc,
	}, func() { s.m.evicted.WithLabelValues(evictedConnection).Inc() })
	return nil
}

// Addr is the address that the server listens on; nil before [Server.Listen].
func (s *Server) Addr() net.Addr {
	if s.gate == nil {
		return nil
	}
	return s.gate.Addr()
}

// Run serves until ctx ends. It calls Listen first if nobody did. Then it accepts no
// new mail, lets open transactions end within Options.Drain, closes the rest and
// returns nil. It may run once.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	if s.gate == nil {
		if err := s.Listen(); err != nil { //nolint:contextcheck // opening a port takes no time
			return err
		}
	}
	s.log.Info("listening", zap.Stringer("addr", s.Addr()), zap.Bool("starttls", s.o.TLS != nil))
	var failed error // set when served is closed
	served := make(chan struct{})
	go func() {
		defer close(served)
		failed = s.smtp.Serve(s.gate)
	}()
	securely := make(chan struct{})
	go func() {
		defer close(securely)
		_ = s.secure.Serve(secureListener{s.gate}) // fails only when the gate is closed
	}()
	select {
	case <-ctx.Done():
	case <-served:
	}
	closed := make(chan struct{})
	go func() { //nolint:gosec,contextcheck // ctx has ended; what follows sees to it that this does
		defer close(closed)
		_ = s.smtp.Shutdown(context.Background())
		_ = s.secure.Shutdown(context.Background())
	}()
	_ = s.gate.Close() // Shutdown misses a listener that Serve has not seen yet
	s.gate.drain()
	late := time.NewTimer(s.o.Drain)
	defer late.Stop()
	select {
	case <-closed:
	case <-late.C:
		s.log.Warn("open transactions did not end in time", zap.Duration("drain", s.o.Drain))
		s.stop()
		s.gate.cut()
		<-closed
	}
	<-served
	<-securely
	if failed != nil && !errors.Is(failed, net.ErrClosed) && !errors.Is(failed, smtp.ErrServerClosed) {
		return fmt.Errorf("accept SMTP connections: %w", failed)
	}
	return nil
}

// Milters are asked whether they answer so often, and again so soon after one did not.
const (
	milterCheck = 30 * time.Second
	milterAgain = 5 * time.Second
)

// WatchMilters asks the milters now and then whether they answer, until ctx ends, and reports the outcome to
// Options.ReportMilter. It returns nil.
func (s *Server) WatchMilters(ctx context.Context) error {
	if s.milters == nil {
		<-ctx.Done()
		return nil
	}
	for {
		pause := milterCheck
		if !s.milters.Check(ctx) {
			pause = milterAgain
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
