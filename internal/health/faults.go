package health

import (
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/setting"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// The parties that a fault can be at.
const (
	Database = "database"
	Broker   = "broker"
	Secrets  = "secrets"
	Milter   = "milter"
	Blobs    = "blobs"
	Relay    = "relay"
)

// unreachable is the code of a party with which there is no connection.
const unreachable = "unreachable"

// Codes of faults that are found by counting and are no errors.
const (
	NoSecretsKey = "no secrets key"
	StaleSecrets = "stale secrets"
)

// Fault is a known cause of errors.
type Fault struct {
	// Party is [Database], [Broker], [Secrets], [Milter], [Blobs] or [Relay].
	Party string
	// Code is the SQLSTATE, JetStream's error code, or a word for an error without one.
	Code string
	// Permanent says that the error stays until somebody acts. The others end by
	// themselves, as a rule.
	Permanent bool
	// Means says what is wrong, as a part of a sentence.
	Means string
	// Remedy says what to do.
	Remedy string
}

// faults is the table of all known faults.
var faults = []Fault{
	{Database, "25006", true, "the server, or this session, is read-only", "after a failover wait until the new primary takes writes, or name all hosts in FANMAIL_DATABASE_URL; else look at default_transaction_read_only of server, database and role"},
	{Database, "28000", true, "the server refuses this role from this machine", "correct pg_hba.conf, or the user in FANMAIL_DATABASE_URL"},
	{Database, "28P01", true, "the user or the password is wrong", "correct user and password in FANMAIL_DATABASE_URL"},
	{Database, "3D000", true, "the database does not exist", "create it, or correct its name in FANMAIL_DATABASE_URL"},
	{Database, "3F000", true, "the schema fanmail is missing", "run `fanmail migrate`"},
	{Database, "42501", true, "the role lacks a right", "run `fanmail migrate --grants` as the owner, or grant what the error names"},
	{Database, "42P01", true, "a table is missing", "run `fanmail migrate`"},
	{Database, "42883", true, "a function is missing", "run `fanmail migrate`"},
	{Database, "53100", true, "the server's disk is full", "free space on the server's disk, or enlarge it"},
	{Database, "53200", false, "the server has no memory left", "lower work_mem or the number of connections, or give the server more memory"},
	{Database, "53300", false, "no connection is left: CONNECTION LIMIT of the role or the database, or max_connections of the server", "raise that limit, or lower FANMAIL_DATABASE_MAX_CONNS of the processes; see docs/reference/limits.md#connections-to-postgres"},
	{Database, "53400", true, "a limit of the server's configuration is reached", "raise the limit that the error names"},
	{Database, "57P01", false, "the server ended the connection", "wait until the server is up again"},
	{Database, "57P03", false, "the server is starting or stopping", "wait until it is up"},
	{Database, "58030", true, "the server can't read or write its files", "look at the server's disk and its log"},
	{Database, "XX001", true, "the server found damaged data", "look at the server's log; restore a backup if it is damaged"},
	{Database, unreachable, false, "the database is away", "start Postgres, or correct the hosts in FANMAIL_DATABASE_URL"},

	{Broker, "10002", true, "the account has reached its JetStream limits", "raise the account's max_file, max_mem or max_streams, or delete streams that nobody needs"},
	{Broker, "10005", true, "no server of the cluster can hold the stream", "raise max_file or max_mem of the servers, add servers, or lower --stream-replicas"},
	{Broker, "10008", false, "JetStream has no leader", "bring a majority of the cluster's servers up"},
	{Broker, "10009", false, "the stream has no leader", "bring a majority of the stream's replicas up"},
	{Broker, "10014", false, "a consumer is missing", "run `fanmail streams`, or any Fanmail process that may make consumers"},
	{Broker, "10023", true, "the server's JetStream storage is full", "raise max_file or max_mem of the server, free its disk, or purge streams that nobody needs"},
	{Broker, "10026", true, "the account may have no more consumers", "raise the account's max_consumers, which counts for each stream: Fanmail needs 32"},
	{Broker, "10027", true, "the account may have no more streams", "raise the account's max_streams: Fanmail needs 7, two of them buckets, and one for each tenant with an intake stream of its own"},
	{Broker, "10028", true, "the account has no memory left for a stream", "raise max_mem of the server or the account, or lower the bounds of other streams"},
	{Broker, "10039", true, "JetStream is off for this account", "enable JetStream for the account, or correct the user of FANMAIL_NATS_URL"},
	{Broker, "10047", true, "the account has no storage left for a stream", "raise max_file of the server or the account, or lower --events-max-bytes"},
	{Broker, "10054", true, "a message is larger than the stream accepts", "remove max_msg_size from the stream"},
	{Broker, "10059", false, "a stream is missing", "run `fanmail streams`, or any Fanmail process that may make streams"},
	{Broker, "10065", true, "a stream that is not Fanmail's takes its subjects", "take Fanmail's subjects out of that stream with `nats stream edit`, or point FANMAIL_NATS_URL at another account"},
	{Broker, "10074", true, "a single server can't replicate streams", "set --stream-replicas to 1, or use a cluster"},
	{Broker, "10076", true, "JetStream is off, or no server of its domain answers", "enable JetStream in the server's configuration; with FANMAIL_NATS_JS_DOMAIN or FANMAIL_NATS_JS_API_PREFIX start the servers that have the streams, connect the leaf node to them, or correct that setting"},
	{Broker, "10077", true, "the stream takes no message: it is full, or its store fails", "raise max_bytes or max_msgs of the stream or set discard to old, and look at the server's disk and log; restart a server whose disk was full"},
	{Broker, "10120", true, "the account has no JetStream limits for this number of replicas", "add limits for it to the account, or change --stream-replicas"},
	{Broker, "mismatch", true, "a stream has settings with which events would be lost", "change the stream with `nats stream edit`, or point FANMAIL_NATS_URL at another account"},
	{Broker, "refused", true, "the server refuses this user", "correct the user, password or credentials file of FANMAIL_NATS_URL"},
	{Broker, "no stream", false, "no stream takes the message", "run `fanmail streams`, or any Fanmail process that may make streams"},
	{Broker, "no answer", false, "the broker does not answer", "bring a majority of the stream's replicas up, and look at the servers' disks and logs; restart a server whose disk was full, because it stores nothing until then"},
	{Broker, unreachable, false, "the broker is away", "start NATS, or correct the hosts in FANMAIL_NATS_URL"},

	{Secrets, NoSecretsKey, true, "no secrets key: secrets are stored in clear", "make a key with `fanmail secrets new-key`, set FANMAIL_SECRETS_KEY_FILE in dispatchers and API (with the chart: secretsKey.secret.name), then run `fanmail secrets rotate`"},
	{Secrets, "missing key", true, "secrets are sealed with a key that this process does not have; their webhooks' deliveries wait", "set FANMAIL_SECRETS_KEY_FILE, or FANMAIL_SECRETS_KEY, to the keyset that sealed them"},
	{Secrets, "wrong key", true, "the key has the id of the one in use, and is another", "set FANMAIL_SECRETS_KEY_FILE, or FANMAIL_SECRETS_KEY, to the keyset that sealed the secrets"},
	{Secrets, "kms away", false, "the KMS that decrypts the secrets key does not answer; the process starts when it does", "bring AWS KMS within reach: look at DNS, routes, the VPC endpoint and AWS_ENDPOINT_URL_KMS"},
	{Secrets, "kms credentials", false, "the process has no AWS credentials for the KMS that decrypts the secrets key", "give it a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"},
	{Secrets, "kms denied", true, "the KMS refuses this process the key that decrypts the secrets key", "grant its role kms:Decrypt on the key of FANMAIL_SECRETS_KMS (kms:Encrypt to make or change a keyset), or correct its AWS credentials"},
	{Secrets, "kms key", true, "the KMS key does not decrypt the secrets key: it is another one, is disabled, or does not exist", "set FANMAIL_SECRETS_KMS to the key that encrypted the keyset, and enable it"},
	{Secrets, StaleSecrets, true, "secrets are in clear, or sealed with an earlier key", "run `fanmail secrets rotate`"},

	{Milter, unreachable, false, "the mail filter is away; mail is put off, unless it has on_failure=accept", "start the filter, give this process the right to its socket, or correct FANMAIL_MILTER"},
	{Milter, "no answer", false, "the mail filter does not answer; mail is put off, unless it has on_failure=accept", "look at the filter's log and load: it may have too few workers"},
	{Milter, "broken", false, "the mail filter does not keep to the milter protocol; mail is put off, unless it has on_failure=accept", "look at the filter's log, and whether FANMAIL_MILTER names its milter port and no other"},

	{Blobs, string(blobs.Unreachable), false, "the blob store does not answer; mails over 128 KiB are refused for now", "bring the store up, or correct the endpoint in FANMAIL_BLOBS"},
	{Blobs, string(blobs.Denied), true, "the blob store refuses this user", "correct the keys in FANMAIL_BLOBS or of the environment, and grant s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket; for a folder, let the processes' user write to it"},
	{Blobs, string(blobs.NoBucket), true, "the bucket or the folder does not exist", "create it, mount its volume, or correct FANMAIL_BLOBS"},
	{Blobs, string(blobs.Full), true, "the blob store has no room left; mails over 128 KiB are refused for now", "give it more room"},
	{Blobs, string(blobs.Foreign), true, "the blob store belongs to another database", "give this database a bucket or a prefix of its own; if it has replaced the other one for good, delete the blob `owner` in the store"},

	{Relay, unreachable, false, "the relay for mails about webhooks does not answer; the mails wait, deliveries go on", "bring the relay up, let dispatchers reach its port, or correct FANMAIL_ALERT_RELAY"},
	{Relay, "tls", true, "the connection to the relay can't be encrypted, or its certificate is not trusted", "let the relay offer STARTTLS or TLS with a certificate for the name in FANMAIL_ALERT_RELAY: smtp:// begins with STARTTLS, smtps:// with TLS"},
	{Relay, "credentials", true, "the relay refuses user and password", "correct the user in FANMAIL_ALERT_RELAY and the password in FANMAIL_ALERT_RELAY_PASSWORD_FILE"},
	{Relay, "sender", true, "the relay refuses the sender", "let the relay send for the address in FANMAIL_ALERT_FROM, or correct it"},
	{Relay, "recipients", true, "the relay refuses a tenant's alert addresses", "correct them with `fanmail tenants alerts`, or let the relay send to them"},
	{Relay, "message", true, "the relay refuses a mail", "look at the relay's log: a filter of outgoing mail may refuse it"},
}

// Faults returns a copy of the table.
func Faults() []Fault { return append([]Fault(nil), faults...) }

// Lookup returns the entry of a code; known is false if there is none.
func Lookup(party, code string) (f Fault, known bool) {
	for _, f := range faults {
		if f.Party == party && f.Code == code {
			f.Remedy = setting.Named(f.Remedy)
			return f, true
		}
	}
	return Fault{}, false
}

// faulty is an error that knows its entry of the table, so that this package need not know its type.
type faulty interface {
	error
	Fault() (party, code string)
}

// Explain returns the known cause of an error. known is false for an error that is
// not in the table, and for nil.
func Explain(err error) (f Fault, known bool) {
	var answer *pgconn.PgError
	var connect *pgconn.ConnectError
	var refused *jetstream.APIError
	var overlap *stream.OverlapError
	var foreign *stream.ForeignError
	var mismatch *stream.MismatchError
	var missing *keyring.MissingKeyError
	var own faulty
	switch {
	case err == nil:
		return Fault{}, false
	case errors.As(err, &own):
		return Lookup(own.Fault())
	case blobs.KindOf(err) != "":
		return Lookup(Blobs, string(blobs.KindOf(err)))
	case errors.As(err, &missing):
		return Lookup(Secrets, "missing key")
	case errors.Is(err, keyring.ErrDamaged):
		return Lookup(Secrets, "wrong key")
	case errors.As(err, &answer):
		return Lookup(Database, answer.Code)
	case errors.As(err, &connect):
		return Lookup(Database, unreachable)
	case errors.As(err, &overlap), errors.As(err, &foreign):
		return Lookup(Broker, "10065")
	case errors.As(err, &mismatch):
		return Lookup(Broker, "mismatch")
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return Lookup(Broker, "no stream")
	case errors.Is(err, nats.ErrNoResponders): // of JetStream's API
		return Lookup(Broker, "10076")
	case errors.As(err, &refused):
		return Lookup(Broker, strconv.Itoa(int(refused.ErrorCode)))
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrPermissionViolation):
		return Lookup(Broker, "refused")
	case errors.Is(err, stream.ErrNoAck), errors.Is(err, nats.ErrTimeout):
		return Lookup(Broker, "no answer")
	case errors.Is(err, stream.ErrAway), errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrStaleConnection):
		return Lookup(Broker, unreachable)
	}
	return Fault{}, false
}
