package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/internal/mailauth"
)

// Time limits of one operation on the database.
const (
	lookUpTimeout = 10 * time.Second
	commitTimeout = time.Minute
)

// Bounds of the mails that are parsed at the same time, in bytes. Large mails have a
// bound of their own, so that small ones never wait for them.
const (
	largeMail  = 1 << 20
	largeBytes = 48 << 20
	smallBytes = 16 << 20
)

// Server takes mail over SMTP. Create one with [NewServer].
type Server struct {
	o        Options
	pool     *pgxpool.Pool
	nc       *nats.Conn
	log      *zap.Logger
	m        *metrics
	smtp     *smtp.Server
	checker  *mailauth.Checker // nil where nothing is checked
	gate     *gate
	buffered atomic.Int64
	small    *semaphore.Weighted
	large    *semaphore.Weighted

	// work is the context of what open transactions do on the database; it
	// outlives Run's context by Options.Drain.
	work context.Context //nolint:containedctx // sessions have no caller to take one from
	stop context.CancelFunc
}

// NewServer creates a server. Hints for the relay go to nc, which may be nil. A
// setting that cannot be used is an [*OptionError]. It opens nothing yet.
func NewServer(pool *pgxpool.Pool, nc *nats.Conn, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, pool: pool, nc: nc, log: o.Log.Named("smtp"), m: newMetrics(o.Registerer),
		small: semaphore.NewWeighted(smallBytes), large: semaphore.NewWeighted(largeBytes),
	}
	if o.Authenticate {
		s.checker = mailauth.New(o.Domain, o.DNSServer, o.AuthTimeout)
	}
	s.work, s.stop = context.WithCancel(context.Background())
	srv := smtp.NewServer(smtp.BackendFunc(s.newSession))
	srv.Domain = o.Domain
	srv.TLSConfig = o.TLS
	srv.MaxMessageBytes = o.MaxMessageBytes
	srv.MaxRecipients = o.MaxRecipients
	srv.ReadTimeout, srv.WriteTimeout = o.ReadTimeout, o.WriteTimeout
	srv.EnableSMTPUTF8 = true
	// Mails with overlong lines are accepted. The gate ends overlong commands.
	srv.MaxLineLength = 0
	srv.ErrorLog = zap.NewStdLog(s.log)
	s.smtp = srv
	return s, nil
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
