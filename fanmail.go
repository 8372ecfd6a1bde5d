package fanmail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Config configures a [Client]. The zero value works: it is silent, and sends to
// public HTTPS endpoints only.
type Config struct {
	// Logger receives what happens; nil: nothing is logged.
	Logger *zap.Logger
	// AllowHTTP permits webhook URLs with plain HTTP.
	AllowHTTP bool
	// AllowNetworks may be dialled although they are not public, such as
	// 127.0.0.0/8 in tests. All other private addresses are refused.
	AllowNetworks []netip.Prefix
	// AllowPorts are ports below 1024 that may be dialled beside 80 and 443.
	AllowPorts []uint16
	// JetStreamDomain is the domain of the streams, where the broker is a leaf node
	// of the cluster that has them. "": the broker's own.
	JetStreamDomain string
	// SecretsKey is the keyset with which signing secrets are encrypted in the
	// database: Tink's JSON format, or its base64, as `fanmail secrets new-key` writes
	// it. "": they are stored in clear.
	SecretsKey Secret
}

// Client manages tenants, webhooks, deliveries and replays, and delivers events. A change of a
// tenant that was deleted is a [*DeletedTenantError]; what was accepted before is delivered.
// Create one with [New]: the methods of a nil or a zero Client return an error. It is
// safe for concurrent use.
type Client struct {
	pool    *pgxpool.Pool
	db      pg.TxDB // the pool, for the calls
	nc      *nats.Conn
	js      jetstream.JetStream
	waker   *outbox.Waker // nil without nc
	config  Config
	store   *subscribers.Store
	replays *replay.Store
	keys    *keyring.Keyring
	posters *posters
	types   *eventschema.Checker
}

// Migrate creates or updates the schema "fanmail" in the database. It may be
// called by many processes at once, and at every start. The pool's user must be
// allowed to create the schema, or own it.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	if pool == nil {
		return errNoPool
	}
	return migrations.Up(ctx, pool)
}

var errNoPool = errors.New("fanmail: a pool is required")

// ready returns an error for a client that [New] did not create.
func (c *Client) ready() error {
	if c == nil || c.pool == nil {
		return errors.New("fanmail: the client is nil or empty: create it with fanmail.New")
	}
	return nil
}

// changeable is ready for a call that changes something of a tenant: for one that was deleted it returns a
// [*DeletedTenantError].
func (c *Client) changeable(ctx context.Context, tenant TenantID) error {
	if err := c.ready(); err != nil {
		return err
	}
	return tenancy.CheckInUse(ctx, c.db, tenant)
}

// New creates a client. It connects nothing: a missing database or broker is an
// error of the first call that needs it. nc may be nil where [Client.Run] is not
// called. The caller keeps both connections and closes them after the last call.
func New(pool *pgxpool.Pool, nc *nats.Conn, config Config) (*Client, error) {
	if pool == nil {
		return nil, errNoPool
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	c := &Client{
		pool: pool, db: pg.Typed(pool), nc: nc, config: config, types: eventschema.NewChecker(false),
	}
	var err error
	if c.keys, err = keyring.Load(keyring.Source{Key: config.SecretsKey}); err != nil {
		return nil, fmt.Errorf("fanmail: Config.SecretsKey: %w", err)
	}
	c.posters = newPosters(pool, c.options())
	c.store, c.replays = subscribers.NewStore(c.db, c.limits()).WithKeyring(c.keys), replay.NewStore(c.db)
	if nc != nil {
		js, err := stream.Open(nc, stream.DomainPrefix(config.JetStreamDomain))
		if err != nil {
			return nil, fmt.Errorf("fanmail: %w", err)
		}
		c.js, c.waker = js, outbox.NewWaker(nc)
	}
	return c, nil
}

// Insert adds an event in the caller's transaction and returns its id. TenantID,
// Type and Data are required. It returns an error that wraps a [*FieldError] for a bad
// field, and an [*UnknownTypeError] too for a type that does not exist.
//
// A type that is not in the catalogue is looked up in tx, by an index: it must be one of
// the tenant's own, or the operator's. Data is not compared with the type's schema, which
// may be large: a program that wants it calls [Client.CheckEvent] before it begins.
//
// An event with an IdempotencyKey is inserted once within 30 days for its tenant,
// key and type; a second insert returns the id of the first.
//
// Insert does not check that the tenant and the agent exist: an event of an unknown
// tenant is kept in the log and goes to no webhook. For a tenant that was deleted it returns
// an error that wraps a [*DeletedTenantError]: roll tx back, and do not try again.
//
// The event counts for the tenant's quotas events_per_day and bytes_per_day, with the
// bytes of its data, when it is fanned out. Insert itself never refuses an event above
// them: the transaction is the program's own, and a quota must not undo what the event
// is about. A program that wants to refuse asks before it begins.
//
// The event is delivered soon after the commit; [Client.Wake] makes it at once.
func Insert(ctx context.Context, tx pgx.Tx, ev Event) (EventID, error) {
	if tx == nil {
		return EventID{}, errors.New("fanmail: a transaction is required")
	}
	if ev.Type.Operational() {
		return EventID{}, &FieldError{Field: "type", Reason: fmt.Sprintf("is %q, which only Fanmail may produce", ev.Type)}
	}
	ev.AgentID = mailbox.Fold(ev.AgentID)
	return outbox.Insert(ctx, tx, ev)
}

// Wake hints to the running clients that events have been committed. Without it
// they notice within a second. A lost hint does no harm. A client that [New] did not
// create does nothing.
func (c *Client) Wake() {
	if c != nil {
		c.waker.Wake()
	}
}

func (c *Client) options() engine.Options {
	return engine.Options{
		AllowHTTP: c.config.AllowHTTP, AllowNetworks: c.config.AllowNetworks, AllowPorts: c.config.AllowPorts, Secrets: c.keys, Maintain: true, Log: c.config.Logger,
	}
}

func (c *Client) limits() subscribers.Limits {
	return subscribers.Limits{AllowHTTP: c.config.AllowHTTP, AllowNetworks: c.config.AllowNetworks, AllowPorts: c.config.AllowPorts}
}
