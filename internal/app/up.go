package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// UpConfig configures `fanmail up`: everything in one process.
type UpConfig struct {
	SMTPAddr    string        `name:"smtp" env:"FANMAIL_SMTP_ADDR" default:"127.0.0.1:2525" help:"Address of the SMTP server."`
	APIAddr     string        `name:"api" env:"FANMAIL_API_ADDR" default:"127.0.0.1:8080" help:"Address of the API."`
	DatabaseURL secret.Text   `name:"database-url" env:"FANMAIL_DATABASE_URL" placeholder:"postgres://…" help:"URL of Postgres; without it a private one is started, with its data in DIR."`
	NATSURL     secret.Text   `name:"nats-url" env:"FANMAIL_NATS_URL" placeholder:"nats://…" help:"URL of NATS with JetStream; without it an embedded one is started, with its data in DIR."`
	HTTPAddr    string        `name:"http-addr" env:"FANMAIL_HTTP_ADDR" default:"off" help:"Address of /healthz, /readyz and /metrics."`
	Postmaster  string        `name:"postmaster" env:"FANMAIL_POSTMASTER" placeholder:"ADDRESS" help:"Agent that takes mail to postmaster and abuse where no agent of the domain does. Without it such mail is refused."`
	MailAuth    bool          `name:"mail-auth" env:"FANMAIL_MAIL_AUTH" help:"Check SPF, DKIM and DMARC of each mail. Off by default: mail from a developer's machine never passes."`
	DNSServer   string        `name:"dns-server" env:"FANMAIL_DNS_SERVER" placeholder:"HOST:PORT" help:"DNS server for the checks of mail and for the records that prove domains; without it the system's servers are used."`
	Milters     []string      `name:"milter" env:"FANMAIL_MILTER" sep:"," placeholder:"ADDRESS,…" help:"Mail filters that speak the milter protocol, asked about each mail in this order: inet:HOST:PORT or unix:/PATH, with ?name=NAME and &on_failure=accept to let mail pass without an answer. Otherwise the client is told to try again."`
	Drain       time.Duration `name:"drain" env:"FANMAIL_DRAIN" default:"25s" help:"How long a stopping process may take to finish the work in flight."`
	Waiting
	Secrets
	Blobs
	AlertMail

	// Dir holds the data, the lock and the credentials.
	Dir string `kong:"-"`
	// Ready is called once, when all servers answer and the credentials are
	// written. It may be nil.
	Ready func(Credentials) `kong:"-"`
	// Step is called with a description of each step of the start. It may be nil.
	Step func(string) `kong:"-"`
}

// Validate returns an error for the first setting that is wrong.
func (c UpConfig) Validate() error {
	return firstError(
		func() error { return address(c.SMTPAddr, "--smtp", "FANMAIL_SMTP_ADDR") },
		func() error { return address(c.APIAddr, "--api", "FANMAIL_API_ADDR") },
		func() error {
			if c.DatabaseURL == "" {
				return nil
			}
			return (&Database{URL: c.DatabaseURL}).validate()
		},
		func() error {
			if c.NATSURL == "" {
				return nil
			}
			return (&NATS{URL: c.NATSURL}).validate()
		},
		func() error {
			if c.DNSServer == "" {
				return nil
			}
			return address(c.DNSServer, "--dns-server", "FANMAIL_DNS_SERVER")
		},
		func() error {
			_, err := (&SMTP{Milters: c.Milters}).milters()
			return err
		},
		c.Secrets.validate,
		c.Blobs.validate,
		c.AlertMail.validate,
		(&Lifecycle{HTTPAddr: c.HTTPAddr, Drain: c.Drain, Waiting: c.Waiting}).validate,
	)
}

func (c *UpConfig) step(format string, args ...any) {
	if c.Step != nil {
		c.Step(fmt.Sprintf(format, args...))
	}
}

// RunUp runs all of Fanmail until ctx ends. Without URLs it starts a private
// Postgres and an embedded NATS, and stops them at the end. Their data stays in
// Dir for the next start.
func RunUp(ctx context.Context, c UpConfig, log *zap.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Dir == "" {
		return errors.New("set --dir (FANMAIL_DIR) to a directory for the data")
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil { //nolint:gosec // Postgres's user must enter it
		return fmt.Errorf("create --dir: %w", err)
	}
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	// Listen first, so that a port in use is an error before servers start.
	l, err := listen(ctx, c.APIAddr, "--api", "FANMAIL_API_ADDR")
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // a second close is harmless
	probe, err := listen(ctx, c.SMTPAddr, "--smtp", "FANMAIL_SMTP_ADDR")
	if err != nil {
		return err
	}
	_ = probe.Close()
	if err := c.orMake(c.Dir); err != nil {
		return err
	}
	last, err := shelveCredentials(c.Dir)
	if err != nil {
		return err
	}
	creds := Credentials{API: "http://" + reachable(l.Addr()), DatabaseURL: c.DatabaseURL.Reveal(), NATSURL: c.NATSURL.Reveal()}
	stop, err := c.startServers(ctx, &creds, log)
	defer stop()
	if err != nil {
		return stopped(ctx, err)
	}
	c.step("migrating the schema and creating the streams")
	db := Database{URL: secret.Text(creds.DatabaseURL), Migrate: true}
	life := Lifecycle{HTTPAddr: c.HTTPAddr, Drain: c.Drain, Waiting: c.Waiting}
	return runProcess(ctx, "up", db, NATS{URL: secret.Text(creds.NATSURL)}, life, log, func(ctx context.Context, p *process) error {
		return c.addAll(ctx, p, l, creds, last)
	})
}

// startServers starts the servers that have no URL, and sets their URLs. stop
// stops those that it started, also after an error.
func (c *UpConfig) startServers(ctx context.Context, creds *Credentials, log *zap.Logger) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range slices.Backward(stops) {
			f()
		}
	}
	if creds.DatabaseURL == "" {
		c.step("starting a private Postgres in %s", c.Dir)
		pg, err := startPostgres(ctx, c.Dir, log.Named("postgres"))
		if err != nil {
			return stop, err
		}
		stops = append(stops, pg.Stop)
		creds.DatabaseURL = pg.URL("fanmail")
	}
	if creds.NATSURL == "" {
		c.step("starting an embedded NATS with JetStream")
		ns, err := devserver.StartNATS(devserver.NATSOptions{Dir: filepath.Join(c.Dir, "nats")})
		if err != nil {
			return stop, err
		}
		stops = append(stops, ns.Stop)
		creds.NATSURL = ns.URL()
	}
	return stop, nil
}

// UpOutbound is where `fanmail up` sends: in development, receivers are on this machine.
func UpOutbound() Outbound {
	return Outbound{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
}

// addAll adds the components of all processes, and writes the credentials once
// they work. last holds the credentials of the last run.
func (c *UpConfig) addAll(ctx context.Context, p *process, api net.Listener, creds, last Credentials) error {
	out := UpOutbound()
	if err := p.useSecrets(ctx, c.Secrets); err != nil {
		return err
	}
	if err := p.useBlobs(c.Blobs); err != nil {
		return err
	}
	p.addPublisher()
	alerts := c.AlertMail
	alerts.PublicURL = cmp.Or(alerts.PublicURL, creds.API)
	if err := p.addDispatcher(ctx, DispatcherConfig{Outbound: out, AlertMail: alerts}); err != nil {
		return err
	}
	smtp, err := p.addIngest(SMTP{ //nolint:contextcheck // listening takes none
		Addr: c.SMTPAddr, Domain: "localhost", Postmaster: c.Postmaster, PublicURL: creds.API, Authenticate: c.MailAuth, DNSServer: c.DNSServer,
		Milters: c.Milters,
	}, "--smtp")
	if err != nil {
		return err
	}
	creds.SMTP = reachable(smtp.Addr())
	if err := p.addAPI(ctx, APIConfig{
		Database: Database{URL: secret.Text(creds.DatabaseURL)}, NATS: NATS{URL: secret.Text(creds.NATSURL)}, Secrets: c.Secrets, Blobs: c.Blobs,
		Outbound: out, DNSServer: c.DNSServer,
	}, api); err != nil {
		return err
	}
	p.add("credentials", func(ctx context.Context) error {
		if err := creds.provision(ctx, p.pool, last); err != nil {
			return stopped(ctx, err)
		}
		if err := writeCredentials(c.Dir, creds); err != nil {
			return err
		}
		if c.Ready != nil {
			c.Ready(creds)
		}
		<-ctx.Done()
		return nil
	})
	return nil
}

// stopped returns nil for an error that the end of ctx has caused.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// lockDir prevents a second `fanmail up` in dir. The operating system releases
// the lock when the process ends.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the user's own directory
	if err != nil {
		return nil, fmt.Errorf("lock --dir: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another `fanmail up` runs in %s: stop it, or give another --dir", dir)
		}
		return nil, fmt.Errorf("lock --dir: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// reachable returns the address at which a client on this machine dials a
// listener.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
