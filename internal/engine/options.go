package engine

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/usage"
)

// Options configure the engine. The zero value works.
type Options struct {
	// Name is this process's name in the table of dispatchers, for people.
	Name string
	// Slots bounds the POSTs in flight to endpoints that answer within a second;
	// zero: by the process's memory limit and file descriptors, 64 to 4,096.
	// SlowSlots is the same for slower endpoints; zero: four times Slots.
	Slots, SlowSlots int
	// AllowHTTP permits webhook URLs with plain HTTP.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not public.
	AllowNetworks []netip.Prefix
	// AllowPorts are ports below 1024 that may be dialled beside 80 and 443.
	AllowPorts []uint16
	// Proxy for all attempts; nil: none.
	Proxy *url.URL
	// ProxyFilters says that the proxy itself refuses what is not public.
	ProxyFilters bool
	// Secrets opens the signing secrets; nil: they are in clear.
	Secrets *keyring.Keyring
	// Blobs holds large raw mails; nil: the database has all.
	Blobs blobs.Store
	// ReplayRate is the most deliveries of replays a second; zero: 500.
	ReplayRate int
	// MessagePerWebhook gives each webhook's deliveries messages of their own.
	MessagePerWebhook bool
	// Agents configures the agents' own webhooks.
	Agents AgentOptions
	// Maintain makes and drops partitions and disables failing webhooks. It takes
	// the rights of the tables' owner.
	Maintain bool
	// Keep says how long rows are kept. The zero value keeps them for 30 days. Its Tenants are not read: what operators
	// have set for tenants always holds.
	Keep retention.Policy
	// Retention are rules for tables of packages that the engine does not know.
	Retention []retention.Rule
	// TenantRows are those of [TenantRows]; nil: this process erases no tenants.
	TenantRows []pg.TenantRows
	// Usage counts the events of programs' own transactions when they are fanned out;
	// nil: a counter of the engine's own.
	Usage *usage.Counter
	// Drain bounds how long stopping may take; zero: each part's own default.
	Drain time.Duration
	// Streams are created again where the broker has lost them.
	Streams    stream.Options
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
	Tracer     trace.Tracer          // nil: no spans
}

// AgentOptions configure deliveries to the agents' own webhooks.
type AgentOptions struct {
	// Slots bounds the POSTs in flight to endpoints that answer within a second;
	// zero: 64.
	Slots int
	// Deprecated and Sunset are dates for the headers of these names; zero: no
	// header.
	Deprecated, Sunset time.Time
}

func (o *Options) log() *zap.Logger {
	if o.Log == nil {
		return zap.NewNop()
	}
	return o.Log
}

// Part is a piece of the engine. Run works until its context ends, drains, and
// returns nil.
type Part struct {
	Name string
	Run  func(context.Context) error
	// Publishing returns how the part's publishing to the broker stands; nil: it
	// does not publish to a stream.
	Publishing func() stream.Publishing
}

// Pool opens a pool of at most maxConns connections to the database of another
// pool, with the engine's settings. It connects once, to adapt to a connection
// pooler; see [pg.Adapt].
func Pool(ctx context.Context, like *pgxpool.Pool, maxConns int32) (*pgxpool.Pool, error) {
	cfg := like.Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = maxConns, 0, 0
	pg.Configure(cfg)
	if err := pg.Adapt(ctx, cfg); err != nil {
		return nil, PermanentUnlessAway(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}
