package ingest

import (
	"context"
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
)

// Server takes mail over SMTP. Create one with [NewServer].
type Server struct {
	*receiver
	smtp *smtp.Server
	gate *gate
	stop context.CancelFunc // ends receiver.work
}

// NewServer creates a server. Hints for the relay go to nc, which may be nil. A
// setting that cannot be used is an [*OptionError]. It opens nothing yet.
func NewServer(pool *pgxpool.Pool, nc *nats.Conn, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &receiver{
		o: o, pool: pool, nc: nc, log: o.Log.Named("smtp"), m: newMetrics(o.Registerer),
		small: semaphore.NewWeighted(smallBytes), large: semaphore.NewWeighted(largeBytes),
	}
	if o.Authenticate {
		r.checker = mailauth.New(o.Domain, o.DNSServer, o.AuthTimeout)
	}
	var stop context.CancelFunc
	r.work, stop = context.WithCancel(context.Background())
	srv := smtp.NewServer(smtp.BackendFunc(r.newSession))
	srv.Domain = o.Domain
	srv.TLSConfig = o.TLS
	srv.MaxMessageBytes = o.MaxMessageBytes
	srv.MaxRecipients = o.MaxRecipients
	srv.ReadTimeout, srv.WriteTimeout = o.ReadTimeout, o.WriteTimeout
	srv.EnableSMTPUTF8 = true
	// Mails with overlong lines are accepted. The gate ends overlong commands.
	srv.MaxLineLength = 0
	srv.ErrorLog = zap.NewStdLog(r.log)
	return &Server{receiver: r, smtp: srv, stop: stop}, nil
}

// Listen opens the port, so that [Server.Addr] is known before [Server.Run].
func (s *Server) Listen() error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.o.Addr)
	if err != nil {
		return fmt.Errorf("ingest Addr: %w", err)
	}
	s.gate = &gate{Listener: l, max: s.o.MaxConnections, open: make(map[*conn]struct{}), refused: func() { s.m.refuse(refusedConnections) }}
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
	select {
	case <-ctx.Done():
	case <-served:
	}
	closed := make(chan struct{})
	go func() { //nolint:gosec,contextcheck // ctx has ended; what follows sees to it that this does
		defer close(closed)
		_ = s.smtp.Shutdown(context.Background())
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
	if failed != nil && !errors.Is(failed, net.ErrClosed) && !errors.Is(failed, smtp.ErrServerClosed) {
		return fmt.Errorf("accept SMTP connections: %w", failed)
	}
	return nil
}
