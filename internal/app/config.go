package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// DefaultDrain is the default time to finish the work in flight before a process
// stops. Kubernetes kills the process after 30 s.
const DefaultDrain = 25 * time.Second

// Database configures the connections to Postgres.
type Database struct {
	URL      secret.Text `name:"database-url" env:"FANMAIL_DATABASE_URL" placeholder:"postgres://…" help:"Postgres 15 or later."`
	MaxConns int32       `name:"database-max-conns" env:"FANMAIL_DATABASE_MAX_CONNS" default:"0" help:"Most connections of this process; 0 means 4 a CPU and at least 16."`
	Migrate  bool        `name:"migrate" env:"FANMAIL_MIGRATE" help:"Migrate the schema at start."`
}

func (c *Database) validate() error {
	if c.URL == "" {
		return missing("--database-url", "FANMAIL_DATABASE_URL", "a Postgres connection string, such as postgres://user:password@host:5432/fanmail")
	}
	if _, err := c.config(); err != nil {
		return err
	}
	if c.MaxConns < 0 {
		return wrong("--database-max-conns", "FANMAIL_DATABASE_MAX_CONNS", "must not be negative")
	}
	return nil
}

// config parses the connection string.
func (c *Database) config() (*pgxpool.Config, error) {
	cfg, err := pg.Parse(c.URL)
	if err != nil {
		return nil, wrong("--database-url", "FANMAIL_DATABASE_URL", err.Error())
	}
	return cfg, nil
}

// streamsExternal is the value of --streams with which a process only checks them.
const streamsExternal = "external"

// NATS configures the connection to the broker and its streams.
type NATS struct {
	URL            secret.Text   `name:"nats-url" env:"FANMAIL_NATS_URL" placeholder:"nats://…" help:"NATS with JetStream; several URLs separated by commas."`
	Creds          string        `name:"nats-creds" env:"FANMAIL_NATS_CREDS" placeholder:"FILE" help:"Credentials file of the NATS user."`
	CA             string        `name:"nats-ca" env:"FANMAIL_NATS_CA" placeholder:"FILE" help:"Certificates to trust, PEM."`
	Cert           string        `name:"nats-cert" env:"FANMAIL_NATS_CERT" placeholder:"FILE" help:"Client certificate, PEM."`
	Key            string        `name:"nats-key" env:"FANMAIL_NATS_KEY" placeholder:"FILE" help:"Key of the client certificate, PEM."`
	Domain         string        `name:"nats-js-domain" env:"FANMAIL_NATS_JS_DOMAIN" placeholder:"NAME" help:"JetStream domain of the streams, where the broker is a leaf node and the streams are in its hub."`
	Prefix         string        `name:"nats-js-api-prefix" env:"FANMAIL_NATS_JS_API_PREFIX" placeholder:"SUBJECT" help:"Prefix of JetStream's API in this account, where another account exports it. Not together with --nats-js-domain."`
	Streams        string        `name:"streams" env:"FANMAIL_STREAMS" default:"make" enum:"make,external" help:"make: this process creates and updates the streams that it uses; external: another tool does, such as 'fanmail streams' or NACK, and this process only checks them."`
	StreamReplicas int           `name:"stream-replicas" env:"FANMAIL_STREAM_REPLICAS" default:"1" help:"Replicas of each stream; 3 in production."`
	EventsMaxAge   time.Duration `name:"events-max-age" env:"FANMAIL_EVENTS_MAX_AGE" default:"0s" help:"How long the broker keeps relayed events; 0 means 720h for a new stream, and leaves an existing one unchanged."`
	EventsMaxBytes int64         `name:"events-max-bytes" env:"FANMAIL_EVENTS_MAX_BYTES" default:"0" help:"Most bytes of relayed events that the broker keeps; 0 means half of the account's limit, or 8 GiB if it has none, or half of what the server has left, for a new stream, and leaves an existing one unchanged."`
}

func (c *NATS) validate() error {
	if c.URL == "" {
		return missing("--nats-url", "FANMAIL_NATS_URL", "the broker's URL, such as nats://127.0.0.1:4222")
	}
	for raw := range strings.SplitSeq(c.URL.Reveal(), ",") {
		u, err := secret.Text(strings.TrimSpace(raw)).URL("nats", "tls", "ws", "wss")
		if err != nil {
			return wrong("--nats-url", "FANMAIL_NATS_URL", err.Error())
		}
		if u.Host == "" {
			return wrong("--nats-url", "FANMAIL_NATS_URL", "has no host; it must be a URL such as nats://127.0.0.1:4222")
		}
	}
	for _, f := range []struct{ path, flag, env string }{
		{c.Creds, "--nats-creds", "FANMAIL_NATS_CREDS"},
		{c.CA, "--nats-ca", "FANMAIL_NATS_CA"},
		{c.Cert, "--nats-cert", "FANMAIL_NATS_CERT"},
		{c.Key, "--nats-key", "FANMAIL_NATS_KEY"},
	} {
		if err := readable(f.path, f.flag, f.env); err != nil {
			return err
		}
	}
	if c.Creds != "" && !holdsUser(c.Creds) {
		return wrong("--nats-creds", "FANMAIL_NATS_CREDS", "has no user's JWT and seed; it must be a file such as nsc generate creds writes")
	}
	if (c.Cert == "") != (c.Key == "") {
		return wrong("--nats-cert and --nats-key", "FANMAIL_NATS_CERT, FANMAIL_NATS_KEY", "belong together: set both or neither")
	}
	if c.Domain != "" && c.Prefix != "" {
		return wrong("--nats-js-domain and --nats-js-api-prefix", "FANMAIL_NATS_JS_DOMAIN, FANMAIL_NATS_JS_API_PREFIX", "exclude each other: a domain is the prefix $JS.NAME.API")
	}
	if strings.ContainsAny(c.Domain, ".*> \t") {
		return wrong("--nats-js-domain", "FANMAIL_NATS_JS_DOMAIN", "must be one token of a subject, without dots, spaces and wildcards")
	}
	if c.Prefix != "" && (strings.ContainsAny(c.Prefix, "*> \t") || strings.Trim(c.Prefix, ".") != c.Prefix) {
		return wrong("--nats-js-api-prefix", "FANMAIL_NATS_JS_API_PREFIX", "must be a subject without spaces and wildcards, and without a dot at its ends, such as JS.acc.API")
	}
	if c.Streams != "" && c.Streams != "make" && c.Streams != streamsExternal {
		return wrong("--streams", "FANMAIL_STREAMS", "must be make or external")
	}
	if c.StreamReplicas < 0 || c.StreamReplicas > 5 {
		return wrong("--stream-replicas", "FANMAIL_STREAM_REPLICAS", "must be from 1 to 5")
	}
	if c.EventsMaxAge < 0 || (c.EventsMaxAge > 0 && c.EventsMaxAge < time.Hour) {
		return wrong("--events-max-age", "FANMAIL_EVENTS_MAX_AGE", "must be an hour or more")
	}
	if c.EventsMaxBytes < 0 {
		return wrong("--events-max-bytes", "FANMAIL_EVENTS_MAX_BYTES", "must not be negative")
	}
	return nil
}

// holdsUser reports whether a credentials file has a JWT and a seed that signs. The client
// library reads the seed only when a server asks, and then tries again for ever.
func holdsUser(creds string) bool {
	o := nats.GetDefaultOptions()
	if err := nats.UserCredentials(creds)(&o); err != nil {
		return false
	}
	jwt, err := o.UserJWT()
	if err != nil || strings.Count(jwt, ".") != 2 {
		return false
	}
	_, err = o.SignatureCB([]byte("nonce"))
	return err == nil
}

func (c *NATS) streams(role stream.Role) stream.Options {
	return stream.Options{
		Replicas: c.StreamReplicas, EventsMaxAge: c.EventsMaxAge, EventsMaxBytes: c.EventsMaxBytes,
		Role: role, External: c.Streams == streamsExternal,
	}
}

// Waiting bounds the wait for the database and the broker at start.
type Waiting struct {
	Wait time.Duration `name:"wait" env:"FANMAIL_WAIT" default:"0s" help:"How long to wait at start for the database, and for the broker where the process needs it to start; 0 means until they answer."`
}

func (c *Waiting) validate() error {
	if c.Wait < 0 {
		return wrong("--wait", "FANMAIL_WAIT", "must not be negative; 0 means until they answer")
	}
	return nil
}

// bound returns a context whose end bounds the wait.
func (c *Waiting) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Wait <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, c.Wait, fmt.Errorf("--wait (FANMAIL_WAIT) allows for %s", c.Wait))
}

// Lifecycle configures the address of a process's state, its start and its drain.
type Lifecycle struct {
	Waiting
	HTTPAddr string        `name:"http-addr" env:"FANMAIL_HTTP_ADDR" default:"${http_addr}" help:"Address of /healthz, /readyz and /metrics; off turns them off."`
	Drain    time.Duration `name:"drain" env:"FANMAIL_DRAIN" default:"25s" help:"How long a stopping process may take to finish the work in flight."`
	Pprof    bool          `name:"pprof" env:"FANMAIL_PPROF" help:"Serve /debug/pprof on the same address, for profiles."`
}

func (c *Lifecycle) validate() error {
	if err := c.Waiting.validate(); err != nil {
		return err
	}
	if c.HTTPAddr != "" && c.HTTPAddr != off {
		if err := address(c.HTTPAddr, "--http-addr", "FANMAIL_HTTP_ADDR"); err != nil {
			return err
		}
	}
	if c.Drain < 0 {
		return wrong("--drain", "FANMAIL_DRAIN", "must not be negative")
	}
	return nil
}

func (c *Lifecycle) drain() time.Duration {
	if c.Drain == 0 {
		return DefaultDrain
	}
	return c.Drain
}

const off = "off"

// Outbound configures the URLs that webhooks may have. The zero value is the safe
// one: HTTPS to public addresses.
type Outbound struct {
	AllowHTTP     bool           `name:"allow-http" env:"FANMAIL_ALLOW_HTTP" help:"Accept webhook URLs of plain HTTP."`
	AllowNetworks []netip.Prefix `name:"allow-networks" env:"FANMAIL_ALLOW_NETWORKS" placeholder:"CIDR,…" help:"Networks that are not public and that webhooks may reach, such as 127.0.0.0/8."`
	AllowPorts    []uint16       `name:"allow-ports" env:"FANMAIL_ALLOW_PORTS" placeholder:"PORT,…" help:"Ports below 1024 that webhooks may reach beside 80 and 443."`
}

// Proxy configures the HTTP proxy for POSTs to webhooks.
type Proxy struct {
	Proxy        secret.Text `name:"proxy" env:"FANMAIL_PROXY" placeholder:"URL" help:"HTTP or SOCKS5 proxy for webhook POSTs. It is asked for addresses that were checked here. The proxies of HTTP_PROXY and HTTPS_PROXY are not used."`
	ProxyFilters bool        `name:"proxy-filters" env:"FANMAIL_PROXY_FILTERS" help:"The proxy itself refuses addresses that are not public. It is then asked for host names, which are not resolved here."`
}

// url is nil without a proxy.
func (c *Proxy) url() (*url.URL, error) {
	if c.Proxy == "" {
		return nil, nil //nolint:nilnil // no proxy
	}
	u, err := c.Proxy.URL("http", "https", "socks5")
	if err == nil && u.Host == "" {
		err = errors.New("has no host; it must be a URL such as http://proxy.internal:3128")
	}
	if err != nil {
		return nil, wrong("--proxy", "FANMAIL_PROXY", err.Error())
	}
	return u, nil
}

func (c *Proxy) validate() error {
	_, err := c.url()
	return err
}

func missing(flag, env, what string) error {
	return fmt.Errorf("set %s (%s) to %s", flag, env, what)
}

func wrong(flag, env, why string) error {
	return fmt.Errorf("%s (%s) %s", flag, env, why)
}

func address(addr, flag, env string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return wrong(flag, env, fmt.Sprintf("is %q; it must be host:port, such as 127.0.0.1:8080", addr))
	}
	return nil
}

func readable(path, flag, env string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return wrong(flag, env, "cannot be read: "+err.Error())
	}
	return f.Close()
}

// oneLine removes the line breaks of pgx from an error's text.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// firstError returns the first error of the checks.
func firstError(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// publicURL checks the URL at which others reach the API and the console.
func publicURL(text string) error {
	if text == "" {
		return nil
	}
	if u, err := url.Parse(text); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return wrong("--public-url", "FANMAIL_PUBLIC_URL", "is not a URL, such as https://fanmail.example.com")
	}
	return nil
}
