package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// APIConfig configures the process that serves the HTTP API.
type APIConfig struct {
	Database
	NATS
	Lifecycle
	Logging
	Outbound
	Secrets
	Blobs
	Kept
	OpenID
	Addr           string         `name:"api-addr" env:"FANMAIL_API_ADDR" default:"127.0.0.1:8080" help:"Address of the API."`
	MaxBodyBytes   int64          `name:"max-body-bytes" env:"FANMAIL_MAX_BODY_BYTES" default:"1048576" help:"Largest body of a request."`
	DNSServer      string         `name:"dns-server" env:"FANMAIL_DNS_SERVER" placeholder:"HOST:PORT" help:"DNS server for the records that prove domains; without it the system's servers are used."`
	RateLimit      int            `name:"rate-limit" env:"FANMAIL_RATE_LIMIT" default:"1000" help:"Most requests a second of one tenant, or of one operator's key, in each process, where no quota is set; 0 means no limit."`
	MaxPerAddress  int            `name:"max-connections-per-address" env:"FANMAIL_MAX_CONNECTIONS_PER_ADDRESS" default:"1000" help:"Most open connections of one client address to the API; 0 means no limit. Behind a proxy, all clients have the proxy's address."`
	PublicURL      string         `name:"public-url" env:"FANMAIL_PUBLIC_URL" placeholder:"URL" help:"URL at which browsers reach the console, for portal links. Without it, links have the host that the client asked."`
	TrustedProxies []netip.Prefix `name:"trusted-proxies" env:"FANMAIL_TRUSTED_PROXIES" placeholder:"CIDR,…" help:"Proxies whose X-Forwarded-For says where a request comes from, for networks of keys, sign-in limits and the audit log. Without it, the connection's address counts."`
	MaxWebhooks    int            `name:"max-webhooks" env:"FANMAIL_MAX_WEBHOOKS" default:"50" help:"Most webhooks of a tenant for which the operator has set no quota."`
	MaxInFlight    int            `name:"default-max-in-flight" env:"FANMAIL_DEFAULT_MAX_IN_FLIGHT" default:"1024" help:"max_in_flight of new webhooks that set none, 1 to 4096."`
	MaxFilterIDs   int            `name:"max-filter-ids" env:"FANMAIL_MAX_FILTER_IDS" default:"50" help:"Most values of one key of a webhook's filters."`
}

// Validate returns an error for the first setting that is wrong.
func (c APIConfig) Validate() error {
	return firstError(c.Database.validate, c.NATS.validate, c.Lifecycle.validate, c.Secrets.validate, c.Blobs.validate, c.Kept.validate, c.OpenID.validate, func() error {
		if err := address(c.Addr, "--api-addr", "FANMAIL_API_ADDR"); err != nil {
			return err
		}
		if err := publicURL(c.PublicURL); err != nil {
			return err
		}
		if c.DNSServer != "" {
			if err := address(c.DNSServer, "--dns-server", "FANMAIL_DNS_SERVER"); err != nil {
				return err
			}
		}
		for _, l := range []struct {
			value     int64
			flag, env string
		}{
			{c.MaxBodyBytes, "--max-body-bytes", "FANMAIL_MAX_BODY_BYTES"},
			{int64(c.RateLimit), "--rate-limit", "FANMAIL_RATE_LIMIT"},
			{int64(c.MaxPerAddress), "--max-connections-per-address", "FANMAIL_MAX_CONNECTIONS_PER_ADDRESS"},
			{int64(c.MaxWebhooks), "--max-webhooks", "FANMAIL_MAX_WEBHOOKS"},
			{int64(c.MaxFilterIDs), "--max-filter-ids", "FANMAIL_MAX_FILTER_IDS"},
		} {
			if l.value < 0 {
				return wrong(l.flag, l.env, "must not be negative")
			}
		}
		if c.MaxInFlight < 0 || c.MaxInFlight > subscribers.MaxMaxInFlight {
			return wrong("--default-max-in-flight", "FANMAIL_DEFAULT_MAX_IN_FLIGHT", "must be from 1 to 4096; 0 means 1024")
		}
		return nil
	})
}

// RunAPI serves the HTTP API until ctx ends.
func RunAPI(ctx context.Context, c APIConfig, log *zap.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return runProcess(ctx, "api", c.Database, c.NATS, c.Lifecycle, log, func(ctx context.Context, p *process) error {
		if err := p.useSecrets(ctx, c.Secrets); err != nil {
			return err
		}
		if err := p.useBlobs(c.Blobs); err != nil {
			return err
		}
		l, err := listen(ctx, c.Addr, "--api-addr", "FANMAIL_API_ADDR")
		if err != nil {
			return err
		}
		return p.addAPI(ctx, c, l)
	})
}

// addAPI serves on l. If it fails, it closes l.
func (p *process) addAPI(ctx context.Context, c APIConfig, l net.Listener) error {
	h, err := api.NewHandler(api.Options{ //nolint:contextcheck // requests bring their own
		Pool: p.pool, NC: p.nc, JS: p.js, DNSServer: c.DNSServer, MaxBodyBytes: c.MaxBodyBytes, RateLimit: c.RateLimit, TrustedProxies: c.TrustedProxies, PublicURL: c.PublicURL, Ready: p.status.ready, Stopping: ctx.Done(),
		Limits: subscribers.Limits{
			WebhooksPerTenant: c.MaxWebhooks, IDsPerFilter: c.MaxFilterIDs, MaxInFlight: c.MaxInFlight,
			AllowHTTP: c.AllowHTTP, AllowNetworks: c.AllowNetworks, AllowPorts: c.AllowPorts,
		},
		Kept: c.policy(), Secrets: p.keys, Blobs: p.blobStore(), Usage: p.counter(), Log: p.log, Registerer: p.registry,
		Doctor: c.diagnose,
	})
	if err != nil {
		_ = l.Close()
		return err
	}
	people, err := c.client()
	if err != nil {
		_ = l.Close()
		return err
	}
	pages, err := console.New(console.Options{API: h, Pool: p.pool, OpenID: people, TrustedProxies: c.TrustedProxies, Log: p.log, Registerer: p.registry, Stopping: ctx.Done()}) //nolint:contextcheck // requests bring their own
	if err != nil {
		_ = l.Close()
		return err
	}
	// The console is not traced: its paths and queries hold tokens of links.
	front := front(p.traces.Requests(h), pages)
	refused := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "fanmail_api_connections_refused_total", Help: "Connections refused because their client address had reached the limit of open connections.",
	})
	if err := p.registry.Register(refused); err != nil {
		_ = l.Close()
		return fmt.Errorf("register the API's metrics: %w", err)
	}
	limited := limitConnections(l, c.MaxPerAddress, refused)
	p.log.Info("serving the API", zap.String("addr", l.Addr().String()))
	p.add("api", func(ctx context.Context) error {
		return serveHTTP(ctx, limited, front, p.drain, p.log.Named("api"))
	})
	return nil
}

// diagnose makes the checks of [Diagnose] with this process's settings.
func (c *APIConfig) diagnose(ctx context.Context) []api.Finding {
	var out []api.Finding
	for _, f := range Diagnose(ctx, DoctorConfig{Database: c.Database, NATS: c.NATS, Secrets: c.Secrets, Blobs: c.Blobs, Process: "api"}) {
		out = append(out, api.Finding(f))
	}
	return out
}

// front leads requests to the API or to the console. The root is what a person opens first.
func front(api, pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			http.Redirect(w, r, console.Base+"/", http.StatusFound)
		case r.URL.Path == console.Base || strings.HasPrefix(r.URL.Path, console.Base+"/"):
			pages.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	})
}
