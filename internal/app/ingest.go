package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/mail"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/rawmail"
)

// IngestConfig configures the process that accepts mail and events.
type IngestConfig struct {
	Database
	NATS
	Lifecycle
	Logging
	SMTP
	Edge
	Blobs
}

// SMTP configures the SMTP server.
type SMTP struct {
	Addr             string        `name:"smtp-addr" env:"FANMAIL_SMTP_ADDR" default:"127.0.0.1:2525" help:"Address of the SMTP server."`
	Domain           string        `name:"smtp-domain" env:"FANMAIL_SMTP_DOMAIN" default:"localhost" help:"Name that the SMTP server greets with."`
	Postmaster       string        `name:"postmaster" env:"FANMAIL_POSTMASTER" placeholder:"ADDRESS" help:"Agent that takes mail to postmaster and abuse, of every domain that receives, where no agent of the domain does. Without it such mail is refused."`
	TLSCert          string        `name:"smtp-tls-cert" env:"FANMAIL_SMTP_TLS_CERT" placeholder:"FILE" help:"Certificate for STARTTLS, PEM; none means no STARTTLS."`
	TLSKey           string        `name:"smtp-tls-key" env:"FANMAIL_SMTP_TLS_KEY" placeholder:"FILE" help:"Key of the certificate, PEM."`
	MaxMessageBytes  int64         `name:"max-message-bytes" env:"FANMAIL_MAX_MESSAGE_BYTES" default:"36700160" help:"Largest mail that is accepted."`
	MaxRecipients    int           `name:"max-recipients" env:"FANMAIL_MAX_RECIPIENTS" default:"100" help:"Most recipients of one mail."`
	MaxConnections   int           `name:"max-connections" env:"FANMAIL_MAX_CONNECTIONS" default:"500" help:"Most SMTP connections at once; one client may have half."`
	MaxBufferedBytes int64         `name:"max-buffered-bytes" env:"FANMAIL_MAX_BUFFERED_BYTES" default:"1073741824" help:"Most bytes of unfinished mails in temporary files; one client may have half."`
	SpoolDir         string        `name:"spool-dir" env:"FANMAIL_SPOOL_DIR" placeholder:"DIR" help:"Folder of the temporary files; without it the system's folder is used."`
	ReadTimeout      time.Duration `name:"smtp-read-timeout" env:"FANMAIL_SMTP_READ_TIMEOUT" default:"5m" help:"How long to wait for a client's next bytes."`
	DataTimeout      time.Duration `name:"smtp-data-timeout" env:"FANMAIL_SMTP_DATA_TIMEOUT" default:"15m" help:"How long the transfer of one mail may take."`
	Authenticate     bool          `name:"mail-auth" env:"FANMAIL_MAIL_AUTH" default:"true" negatable:"" help:"Check SPF, DKIM and DMARC of each mail."`
	DNSServer        string        `name:"dns-server" env:"FANMAIL_DNS_SERVER" placeholder:"HOST:PORT" help:"DNS server for the checks of mail; without it the system's servers are used."`
	AuthTimeout      time.Duration `name:"mail-auth-timeout" env:"FANMAIL_MAIL_AUTH_TIMEOUT" default:"5s" help:"How long the checks of one mail may take; a check that has not finished by then is temperror."`
	Milters          []string      `name:"milter" env:"FANMAIL_MILTER" sep:"," placeholder:"ADDRESS,…" help:"Mail filters that speak the milter protocol, asked about each mail in this order: inet:HOST:PORT or unix:/PATH, with ?name=NAME and &on_failure=accept to let mail pass without an answer. Otherwise the client is told to try again."`
	PublicURL        string        `name:"public-url" env:"FANMAIL_PUBLIC_URL" placeholder:"URL" help:"URL at which receivers reach the API; links to raw mail begin with it. Without it they begin with /v1."`
}

// Edge configures an ingest that publishes mails instead of writing them to the
// database.
type Edge struct {
	Publish           bool   `name:"publish" env:"FANMAIL_PUBLISH" help:"Publish each mail to the broker, where an ingest with a database takes it. This process then needs no database."`
	Node              string `name:"node" env:"FANMAIL_NODE" placeholder:"NAME" help:"With --publish: the last part of the subject mail.raw.NAME; without it the host's name."`
	UnknownRecipients string `name:"unknown-recipients" env:"FANMAIL_UNKNOWN_RECIPIENTS" default:"refuse" enum:"refuse,accept" help:"With --publish: refuse addresses that the bucket of recipients does not have, or accept every address. A mail that no agent takes goes to the dead letters then."`
}

func (c *Edge) validate() error {
	if err := rawmail.CheckNode(c.node()); err != nil {
		return wrong("--node", "FANMAIL_NODE", err.Error())
	}
	return nil
}

// node is the name in the subject. A host's name may have dots, which divide subjects.
func (c *Edge) node() string {
	host, _ := os.Hostname()
	return cmp.Or(c.Node, strings.ReplaceAll(host, ".", "-"))
}

// Validate returns an error for the first setting that is wrong.
func (c IngestConfig) Validate() error {
	database := c.Database.validate
	if c.Publish {
		database = c.Edge.validate
	}
	return firstError(database, c.NATS.validate, c.Lifecycle.validate, c.SMTP.validate, c.Blobs.validate)
}

func (c *SMTP) validate() error {
	if err := address(c.Addr, "--smtp-addr", "FANMAIL_SMTP_ADDR"); err != nil {
		return err
	}
	if c.Postmaster != "" {
		if a, err := mail.ParseAddress(c.Postmaster); err != nil || a.Address != c.Postmaster {
			return wrong("--postmaster", "FANMAIL_POSTMASTER", "is not the address of an agent, such as postmaster@example.com")
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return wrong("--smtp-tls-cert and --smtp-tls-key", "FANMAIL_SMTP_TLS_CERT, FANMAIL_SMTP_TLS_KEY", "belong together: set both or neither")
	}
	if _, err := c.tls(zap.NewNop()); err != nil {
		return err
	}
	for _, l := range []struct {
		value     int64
		flag, env string
	}{
		{c.MaxMessageBytes, "--max-message-bytes", "FANMAIL_MAX_MESSAGE_BYTES"},
		{int64(c.MaxRecipients), "--max-recipients", "FANMAIL_MAX_RECIPIENTS"},
		{int64(c.MaxConnections), "--max-connections", "FANMAIL_MAX_CONNECTIONS"},
		{c.MaxBufferedBytes, "--max-buffered-bytes", "FANMAIL_MAX_BUFFERED_BYTES"},
		{int64(c.ReadTimeout), "--smtp-read-timeout", "FANMAIL_SMTP_READ_TIMEOUT"},
		{int64(c.DataTimeout), "--smtp-data-timeout", "FANMAIL_SMTP_DATA_TIMEOUT"},
		{int64(c.AuthTimeout), "--mail-auth-timeout", "FANMAIL_MAIL_AUTH_TIMEOUT"},
	} {
		if l.value < 0 {
			return wrong(l.flag, l.env, "must not be negative")
		}
	}
	if c.MaxRecipients > 1000 {
		return wrong("--max-recipients", "FANMAIL_MAX_RECIPIENTS", "must be from 1 to 1000")
	}
	if c.DNSServer != "" {
		if err := address(c.DNSServer, "--dns-server", "FANMAIL_DNS_SERVER"); err != nil {
			return err
		}
	}
	if _, err := c.milters(); err != nil {
		return err
	}
	return publicURL(c.PublicURL)
}

func (c *SMTP) milters() ([]milter.Address, error) {
	list, err := milter.Parse(c.Milters)
	if err != nil {
		return nil, wrong("--milter", "FANMAIL_MILTER", err.Error())
	}
	return list, nil
}

// tls is nil without a certificate.
func (c *SMTP) tls(log *zap.Logger) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	pair := &certificate{cert: c.TLSCert, key: c.TLSKey, log: log}
	if err := pair.read(); err != nil {
		return nil, wrong("--smtp-tls-cert and --smtp-tls-key", "FANMAIL_SMTP_TLS_CERT, FANMAIL_SMTP_TLS_KEY", "cannot be used: "+err.Error())
	}
	return &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12}, nil
}

// certificate is read for each connection, so that a new one is used at once. While
// the files do not match, the last valid certificate is used.
type certificate struct {
	cert, key string
	log       *zap.Logger
	last      atomic.Pointer[tls.Certificate]
}

func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.last.Store(&pair)
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if err := c.read(); err != nil {
		c.log.Warn("STARTTLS goes on with the certificate from before", zap.Error(err))
	}
	return c.last.Load(), nil
}

// RunIngest accepts mail and events until ctx ends.
func RunIngest(ctx context.Context, c IngestConfig, log *zap.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Publish {
		return runEdge(ctx, c, log)
	}
	return runProcess(ctx, "ingest", c.Database, c.NATS, c.Lifecycle, log, func(_ context.Context, p *process) error {
		if err := p.useBlobs(c.Blobs); err != nil {
			return err
		}
		_, err := p.addIngest(c.SMTP, "--smtp-addr") //nolint:contextcheck // listening takes none
		return err
	})
}

// addIngest listens immediately, so that the server's address is known.
func (p *process) addIngest(c SMTP, flag string) (*ingest.Server, error) {
	counter := p.counter()
	o, err := p.smtpOptions(c)
	if err != nil {
		return nil, err
	}
	srv, err := ingest.NewServer(p.pool, p.nc, o)
	if err != nil {
		return nil, err
	}
	if err := srv.Listen(); err != nil {
		return nil, portError(err, c.Addr, flag, "FANMAIL_SMTP_ADDR")
	}
	p.addSMTP(srv)
	in := ingest.IntakeOptions{Drain: p.drain, Usage: counter, Streams: p.streams, Log: p.log, Registerer: p.registry, Tracer: p.traces.Tracer()}
	p.add("intake", ingest.NewIntake(p.pool, p.js, p.nc, in).Run)
	p.add("raw", ingest.NewRawIntake(srv, p.js, in).Run)
	p.add("recipients", rawmail.NewKeeper(p.pool, p.js, p.streams, p.log).Run)
	return srv, nil
}

// addSMTP runs the server, and asks its milters now and then whether they answer.
func (p *process) addSMTP(srv *ingest.Server) {
	p.add("smtp", srv.Run)
	p.add("milters", srv.WatchMilters)
}

func (p *process) smtpOptions(c SMTP) (o ingest.Options, err error) {
	tlsConfig, err := c.tls(p.log)
	if err != nil {
		return o, err
	}
	milters, err := c.milters()
	if err != nil {
		return o, err
	}
	return ingest.Options{
		Addr: c.Addr, Domain: c.Domain, Postmaster: c.Postmaster, TLS: tlsConfig, MaxMessageBytes: c.MaxMessageBytes, MaxRecipients: c.MaxRecipients,
		MaxConnections: c.MaxConnections, MaxBufferedBytes: c.MaxBufferedBytes, SpoolDir: cmp.Or(c.SpoolDir, os.TempDir()), ReadTimeout: c.ReadTimeout, DataTimeout: c.DataTimeout,
		Authenticate: c.Authenticate, DNSServer: c.DNSServer, AuthTimeout: c.AuthTimeout,
		PublicURL: c.PublicURL, Blobs: p.blobStore(), Drain: p.drain, Usage: p.usage, Log: p.log, Registerer: p.registry, Tracer: p.traces.Tracer(),
		Milters: milters, ReportMilter: p.state.watchMilters(milters),
	}, nil
}

// runEdge accepts mail and publishes it until ctx ends.
func runEdge(ctx context.Context, c IngestConfig, log *zap.Logger) error {
	return runProcess(ctx, edge, Database{}, c.NATS, c.Lifecycle, log, func(_ context.Context, p *process) error {
		o, err := p.smtpOptions(c.SMTP)
		if err != nil {
			return err
		}
		var directory *rawmail.Directory
		if c.UnknownRecipients != "accept" {
			directory = rawmail.NewDirectory(p.js)
		}
		srv, err := ingest.NewPublishingServer(rawmail.NewPublisher(p.js, c.node()), directory, o)
		if err != nil {
			return err
		}
		if err := srv.Listen(); err != nil { //nolint:contextcheck // listening takes none
			return portError(err, c.Addr, "--smtp-addr", "FANMAIL_SMTP_ADDR")
		}
		p.addSMTP(srv)
		return nil
	})
}
