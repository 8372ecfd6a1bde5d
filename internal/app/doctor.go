package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// DoctorConfig configures [Diagnose].
type DoctorConfig struct {
	Database Database `embed:""`
	NATS     NATS     `embed:""`
	Secrets  Secrets  `embed:""`
	Blobs    Blobs    `embed:""`

	AlertMail  `embed:""`
	MailDomain `embed:""`

	// Process is the kind of the process that asks, whose user may subscribe to its own inboxes alone. "" means the
	// command.
	Process string `kong:"-"`
}

const (
	// skewWarn is a difference between two clocks that needs attention.
	skewWarn = 2 * time.Second
	// skewFail is close to the difference at which receivers reject signatures:
	// five minutes (signature.DefaultTolerance).
	skewFail = 4 * time.Minute
	// checkTimeout bounds each group of checks.
	checkTimeout = 10 * time.Second
)

// Diagnose checks the database, its schema, the broker, its streams, the clocks,
// the blob store, the DNS names of webhooks, and a relay for mails and a mail domain
// where they are named. It changes nothing, except that a blob store without an owner becomes the database's.
func Diagnose(ctx context.Context, c DoctorConfig) []Finding {
	e := &examination{}
	e.database(ctx, c)
	e.broker(ctx, c.NATS, c.Process)
	e.alertRelay(ctx, c.AlertMail)
	e.mailDomain(ctx, c.MailDomain)
	return e.found
}

func (e *examination) database(ctx context.Context, d DoctorConfig) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %s", checkTimeout))
	defer cancel()
	c := d.Database
	if err := c.validate(); err != nil {
		e.add("database", FindingFail, "set --database-url (FANMAIL_DATABASE_URL), or --dir to that of `fanmail up`", "%w", err)
		return
	}
	cfg, err := c.config()
	if err != nil {
		e.add("database", FindingFail, "correct --database-url (FANMAIL_DATABASE_URL)", "%w", err)
		return
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // there may be a connection pooler
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		e.add("database", FindingFail, remedy(err, "start Postgres, or correct --database-url (FANMAIL_DATABASE_URL)"), "is unreachable: %w", err)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version int
	var replica bool
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::integer, pg_is_in_recovery()`).Scan(&version, &replica); err != nil {
		e.add("database", FindingFail, "see the server's log", "does not answer: %w", err)
		return
	}
	switch {
	case version < 150000:
		e.add("database", FindingFail, "upgrade to Postgres 15 or later", "is Postgres %d", version/10000)
	case replica:
		e.add("database", FindingFail, "point --database-url at the primary, or name all hosts in it: Fanmail then uses the one that takes writes", "is a standby, which takes no writes")
	default:
		e.add("database", FindingOK, "", "Postgres %d.%d", version/10000, version%10000)
	}
	e.clock(ctx, "clock of the database", func(ctx context.Context) (at time.Time, err error) {
		err = conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&at)
		return at, err
	})
	pg.Configure(cfg)
	var pooler *pg.PoolerError
	if err := pg.Adapt(ctx, cfg); errors.As(err, &pooler) {
		e.add("connection pooler", FindingFail, "run the statements as the role or as a superuser, then reconnect the pooler", "%w", pooler)
		return
	}
	if !e.schema(ctx, conn) {
		return
	}
	e.writes(ctx, conn)
	e.secrets(ctx, conn, d.Secrets)
	e.blobs(ctx, conn, d.Blobs)
	e.partitions(ctx, conn)
	e.work(ctx, conn)
	e.processes(ctx, conn)
	e.hosts(ctx, conn)
	e.standing(ctx, conn, d.Domain)
}

// schema checks the schema. It returns false if the tables cannot be read.
func (e *examination) schema(ctx context.Context, conn *pgx.Conn) bool {
	schema, err := migrations.Read(ctx, conn)
	switch {
	case err != nil:
		e.add("schema", FindingFail, "give the user of --database-url rights on the tables", "could not be read: %w", err)
		return false
	case schema.Have < schema.Want:
		e.add("schema", FindingFail, "run `fanmail migrate`", "has version %d; this fanmail needs %d", schema.Have, schema.Want)
		return false
	case schema.Check() != nil:
		e.add("schema", FindingFail, "run the fanmail that migrated it, or a newer one", "has version %d, which this fanmail (version %d) does not support", schema.Have, schema.Want)
		return false
	case schema.Newer():
		e.add("schema", FindingWarn, "finish the upgrade, or run the fanmail that migrated it", "has version %d, which is newer than this fanmail's %d and supports it", schema.Have, schema.Want)
		return true
	}
	e.add("schema", FindingOK, "", "version %d", schema.Have)
	return true
}

// writes makes a write and rolls it back.
func (e *examination) writes(ctx context.Context, conn *pgx.Conn) {
	if err := health.TryWrite(ctx, conn); err != nil {
		e.writeless = true
		e.add("writes", FindingFail, remedy(err, "see the server's log"), "the database takes none: %w", err)
		return
	}
	e.add("writes", FindingOK, "", "the database takes them: one was made and rolled back")
}

// secrets checks that secrets are encrypted, with a key that is set here.
func (e *examination) secrets(ctx context.Context, conn *pgx.Conn, c Secrets) {
	keys, err := c.load(ctx)
	if err == nil {
		err = keys.Check(ctx, conn)
	}
	if err != nil {
		e.add(secretsName, FindingFail, remedy(err, "set --secrets-key-file (FANMAIL_SECRETS_KEY_FILE) to the keyset of the processes"), "%w", err)
		return
	}
	stale, err := subscribers.CountStale(ctx, conn, keys)
	if err != nil {
		e.add(secretsName, FindingFail, remedy(err, "see the server's log"), "%w", err)
		return
	}
	bad := func(code string) {
		f, _ := health.Lookup(health.Secrets, code)
		e.add(secretsName, FindingWarn, f.Remedy, "%s (%d webhooks)", f.Means, stale)
	}
	switch {
	case keys.Primary() == "":
		bad(health.NoSecretsKey)
	case stale > 0:
		bad(health.StaleSecrets)
	case c.KMS != "":
		e.add(secretsName, FindingOK, "", "all are encrypted with key %s, and the keyset with %s", keys.Primary(), c.KMS)
	default:
		e.add(secretsName, FindingOK, "", "all are encrypted with key %s", keys.Primary())
	}
}

// blobs writes, reads and deletes a blob.
func (e *examination) blobs(ctx context.Context, conn *pgx.Conn, c Blobs) {
	const check = "blob store"
	store, err := c.open()
	if err != nil {
		e.add(check, FindingFail, "correct --blobs (FANMAIL_BLOBS)", "%w", err)
		return
	}
	if store == nil {
		return
	}
	fail := func(err error) {
		e.add(check, FindingFail, remedy(err, "correct --blobs (FANMAIL_BLOBS), and look at the store's log"), "%w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, blobsTimeout, errBlobsSlow)
	defer cancel()
	if err := blobs.Probe(ctx, store, trialKey()); err != nil {
		fail(err)
		return
	}
	owned := blobs.NewOwned(store, func(ctx context.Context) (string, error) { return mailbox.BlobOwner(ctx, conn) })
	if err := owned.Claim(ctx); err != nil {
		fail(err)
		return
	}
	e.add(check, FindingOK, "", "a blob was written, read and deleted")
}

// processes tells which components of the running processes are not well.
func (e *examination) processes(ctx context.Context, conn *pgx.Conn) {
	list, err := health.Processes(ctx, conn)
	if err != nil {
		e.add("processes", FindingFail, remedy(err, "see the server's log"), "%w", err)
		return
	}
	running, well := 0, true
	if e.writeless {
		well = false
		e.add("processes", FindingWarn, "read /readyz of each process", "what they wrote about themselves is from before the database took no writes")
	}
	for _, p := range list {
		if p.Age > health.Gone {
			continue
		}
		running++
		for i := range p.Components {
			s := &p.Components[i]
			if s.Status == health.OK {
				continue
			}
			well = false
			status, fix := FindingWarn, s.Remedy
			if s.Needed && s.Status == health.Failing {
				status = FindingFail
			}
			if fix == "" {
				fix = "see the log of this process"
			}
			e.add(p.Kind+" "+p.Name+", "+s.Name, status, fix, "%s: %s, %s ago", s.Status, s.Why(), time.Since(s.LastError).Round(time.Second))
		}
	}
	if well {
		e.add("processes", FindingOK, "", "%d seen in the last %s, and all their components are well", running, health.Gone)
	}
}

func (e *examination) partitions(ctx context.Context, conn *pgx.Conn) {
	var days int
	err := conn.QueryRow(ctx, `SELECT count(*) FROM generate_series(0, 6) AS i
		WHERE to_regclass('fanmail.events_' || to_char((now() AT TIME ZONE 'UTC')::date + i::integer, 'YYYYMMDD')) IS NOT NULL`).Scan(&days)
	const fix = "run a dispatcher or `fanmail migrate`: both create the partitions of the next days"
	switch {
	case err != nil:
		e.add("partitions", FindingFail, "see the server's log", "could not be read: %w", err)
	case days == 0:
		e.add("partitions", FindingFail, fix, "there is none for today: no event can be inserted")
	case days < 3:
		e.add("partitions", FindingWarn, fix, "they end in %d days", days)
	default:
		e.add("partitions", FindingOK, "", "ready for %d days or more", days)
	}
}

// work checks that dispatchers run and that the outbox is drained.
func (e *examination) work(ctx context.Context, conn *pgx.Conn) {
	dispatchers, unowned, err := dispatch.Owners(ctx, conn)
	if err != nil {
		e.add("dispatchers", FindingFail, "see the server's log", "could not be read: %w", err)
		return
	}
	switch {
	case dispatchers == 0 && e.writeless:
		e.add("dispatchers", FindingWarn, "let the database take writes; meanwhile read /readyz of the dispatchers", "it can't be told which are alive: they renew their leases in this database")
	case dispatchers == 0:
		e.add("dispatchers", FindingFail, "start a dispatcher", "none is alive: no event is delivered")
	case unowned > 0:
		e.add("dispatchers", FindingWarn, "check again after 10 s; if it stays, see the dispatchers' logs", "%d alive, %d partitions without an owner", dispatchers, unowned)
	default:
		e.add("dispatchers", FindingOK, "", "%d alive, every partition has an owner", dispatchers)
	}
	oldest, err := outbox.OldestWaiting(ctx, conn)
	switch {
	case err != nil:
		e.add("outbox", FindingFail, "see the server's log", "could not be read: %w", err)
	case oldest > time.Minute:
		e.add("outbox", FindingWarn, "check that a publisher and a dispatcher run, and read their logs", "an event has waited for %s to be fanned out",
			oldest.Round(time.Second))
	default:
		e.add("outbox", FindingOK, "", "no event has waited for over a minute")
	}
}

func (e *examination) broker(ctx context.Context, c NATS, process string) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %s", checkTimeout))
	defer cancel()
	if err := c.validate(); err != nil {
		e.add("broker", FindingFail, "set --nats-url (FANMAIL_NATS_URL), or --dir to that of `fanmail up`", "%w", err)
		return
	}
	opts := append(c.credentials(), nats.Name("fanmail-doctor"), nats.Timeout(checkTimeout/2))
	if process != "" {
		opts = append(opts, nats.CustomInboxPrefix(inboxes(process)))
	}
	nc, err := nats.Connect(c.URL.Reveal(), opts...)
	if err != nil {
		e.add("broker", FindingFail, remedy(err, "start NATS, or correct --nats-url (FANMAIL_NATS_URL) and its credentials"), "is unreachable: %w", err)
		return
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got < stream.MinMessageBytes {
		e.add("broker", FindingFail, "raise max_payload in its configuration", "accepts messages of %d bytes; Fanmail needs %d", got, stream.MinMessageBytes)
		return
	}
	if v := nc.ConnectedServerVersion(); stream.Older(v, stream.Oldest) {
		e.add("broker", FindingFail, "upgrade to NATS "+stream.Oldest+" or later", "is NATS %s", v)
		return
	}
	js, err := stream.Open(nc, c.apiPrefix())
	var account *jetstream.AccountInfo
	if err == nil {
		account, err = js.AccountInfo(ctx)
	}
	if err != nil {
		e.add("broker", FindingFail, remedy(err, "enable JetStream in its configuration, and for this account"), "NATS %s without JetStream%s: %w", nc.ConnectedServerVersion(), c.where(), err)
		return
	}
	e.add("broker", FindingOK, "", "NATS %s with JetStream", nc.ConnectedServerVersion())
	fix := e.room(ctx, js, c, account)
	began := time.Now()
	streams, err := stream.Verify(ctx, js, c.streams(stream.Everything))
	took := time.Since(began)
	if err != nil {
		e.add("streams", FindingFail, "see the broker's log", "%w", err)
		return
	}
	var server time.Time
	for _, s := range streams {
		e.stream(s, max(c.StreamReplicas, 1), fix)
		if !s.ServerTime.IsZero() {
			server = s.ServerTime
		}
	}
	if !server.IsZero() {
		e.skew("clock of the broker", server.Sub(began.Add(took/2)))
	}
}

const (
	// needConsumers are those of [stream.Deliveries], one for each partition: the limit counts for each stream.
	needConsumers = events.Partitions
	// fullPercent of an account's storage needs attention.
	fullPercent = 90
)

// room checks whether the account has room for the streams, and whether others take
// their subjects. It returns what to do about a stream that is missing.
func (e *examination) room(ctx context.Context, js jetstream.JetStream, c NATS, account *jetstream.AccountInfo) (fix string) {
	fix = "wait some seconds if publishers and dispatchers run, else start them: they create it, and lost messages are published again from Postgres"
	if c.Streams == streamsExternal {
		fix = "run `fanmail streams`, or the tool that makes this account's streams"
	}
	well := true
	bad := func(status, code, format string, args ...any) {
		well = false
		f, _ := health.Lookup(health.Broker, code)
		fix = f.Remedy
		e.add("broker's limits", status, fix, format, args...)
	}
	wanted := stream.Configs(c.streams(stream.Everything))
	ours, have := map[string]bool{stream.RawObjectsStream: true, stream.RecipientsStream: true}, 0
	for _, want := range wanted {
		ours[want.Name] = true
	}
	// Asking for each by its name needs rights that the API's user lacks.
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if ours[name] {
			have++
		}
	}
	if err := names.Err(); err != nil {
		e.add("broker's limits", FindingFail, "see the broker's log", "can't list the account's streams: %w", err)
		return fix
	}
	l := account.Limits
	if l.MaxStreams > 0 && account.Streams+len(ours)-have > l.MaxStreams {
		bad(FindingFail, "10027", "the account may have %d streams and has %d, of which %d are Fanmail's %d", l.MaxStreams, account.Streams, have, len(ours))
	}
	if l.MaxConsumers > 0 && l.MaxConsumers < needConsumers {
		bad(FindingFail, "10026", "the account may have %d consumers; Fanmail needs %d", l.MaxConsumers, needConsumers)
	}
	if l.MaxStore > 0 && account.Store*100 > uint64(l.MaxStore)*fullPercent {
		bad(FindingWarn, "10047", "%d of the account's %d MB of storage are used", account.Store>>20, l.MaxStore>>20)
	}
	if l.MaxMemory > 0 && account.Memory*100 > uint64(l.MaxMemory)*fullPercent {
		bad(FindingWarn, "10028", "%d of the account's %d MB of memory are used", account.Memory>>20, l.MaxMemory>>20)
	}
	for _, want := range wanted {
		for _, subject := range want.Subjects {
			for name := range js.StreamNames(ctx, jetstream.WithStreamListSubject(subject)).Name() {
				if !ours[name] {
					bad(FindingFail, "10065", "stream %s takes subjects of %s (%s)", name, want.Name, subject)
				}
			}
		}
	}
	if well {
		e.add("broker's limits", FindingOK, "", "the account has room for Fanmail's streams, and no other stream takes their subjects")
	}
	return fix
}

func (e *examination) stream(s stream.Verified, replicas int, missing string) {
	check := "stream " + s.Stream
	var mismatch *stream.MismatchError
	switch {
	case errors.As(s.Err, &mismatch):
		e.add(check, FindingFail, "`nats stream edit "+s.Stream+"`, or another account in --nats-url", "%w", s.Err)
	case errors.Is(s.Err, stream.ErrMissing):
		e.add(check, FindingFail, missing, "%w", s.Err)
	case s.Err != nil:
		e.add(check, FindingWarn, "start any Fanmail process of this release", "%w", s.Err)
	case s.Replicas < replicas:
		e.add(check, FindingWarn, "start any Fanmail process with --stream-replicas", "has %d replicas instead of %d", s.Replicas, replicas)
	default:
		e.add(check, FindingOK, "", "%d messages, %d MB, %d replicas", s.Messages, s.Bytes>>20, s.Replicas)
	}
}

func (e *examination) clock(ctx context.Context, check string, read func(context.Context) (time.Time, error)) {
	before := time.Now()
	at, err := read(ctx)
	if err != nil {
		e.add(check, FindingFail, "see the server's log", "could not be read: %w", err)
		return
	}
	e.skew(check, at.Sub(before.Add(time.Since(before)/2)))
}

// skew checks how far another clock is ahead of this machine's.
func (e *examination) skew(check string, ahead time.Duration) {
	ahead = ahead.Round(time.Millisecond)
	const fix = "run an NTP client, such as chrony, on both machines"
	switch {
	case ahead.Abs() > skewFail:
		e.add(check, FindingFail, fix, "is %s ahead of this machine's: receivers reject signatures that are 5 minutes off", ahead)
	case ahead.Abs() > skewWarn:
		e.add(check, FindingWarn, fix, "is %s ahead of this machine's", ahead)
	default:
		e.add(check, FindingOK, "", "agrees with this machine's")
	}
}
