package arch

// Rule says which of this module's packages a package may import. Imports of
// other modules are not its concern.
type Rule struct {
	// Package is the directory; "cmd/*" means all below cmd.
	Package string
	// May are the packages of this module that it may import, by directory.
	May []string
	// Because is the reason, told with every breach.
	Because string
}

// Rules of imports. Data flows one way and imports fall to events. A package
// that no rule names is a breach: a new one needs a line here.
var Rules = []Rule{
	{
		Package: "events",
		Because: "events is what everybody speaks, receivers in other modules too, so it depends on nothing here",
	},
	{
		Package: "receivers/go",
		Because: "receivers of webhooks import it alone, and must not pull Fanmail in",
	},
	{
		Package: "clients/go",
		Because: "callers of the API import it alone, and must not pull Fanmail in",
	},
	{
		Package: "internal/stream", May: []string{"internal/setting", "events"},
		Because: "stream definitions are the broker's half of events and must not know who uses them",
	},
	{
		Package: "subscribers/signature",
		Because: "receivers import it on its own to verify, and must not pull Fanmail in",
	},
	{
		Package: "deploy/migrations", May: []string{"internal/faults", "internal/setting"},
		Because: "the schema is older than any code that uses it",
	},
	{
		Package: "deploy/postgres",
		Because: "rights follow the schema and not the code that uses it",
	},
	{
		Package: "internal/pg", May: []string{"internal/secret"},
		Because: "how connections are opened is nobody's domain, so it knows none",
	},
	{
		Package: "internal/attempt", May: []string{"internal/endpoint", "internal/retry", "internal/setting"},
		Because: "how an endpoint is reached and judged is the same for whoever is sent something, so it knows nobody",
	},
	{
		Package: "internal/endpoint", May: []string{"events"},
		Because: "what a gateway asks for is checked when it is set and used when something is sent; both ask this package",
	},
	{
		Package: "internal/release",
		Because: "the number of the release is one for all, so it knows nobody",
	},
	{
		Package: "internal/retry", May: []string{"events"},
		Because: "a schedule is arithmetic on attempts; who attempts what is not its concern",
	},
	{
		Package: "internal/input",
		Because: "every door asks it, so it knows nobody",
	},
	{
		Package: "internal/activity", May: []string{"events"},
		Because: "it counts what it is told, and need not know who makes attempts",
	},
	{
		Package: "internal/faults",
		Because: "anything may stand at a crash point, so it knows nothing",
	},
	{
		Package: "internal/blobs",
		Because: "a blob store knows keys and bytes, and nothing of mail",
	},
	{
		Package: "internal/blobs/s3", May: []string{"internal/blobs"},
		Because: "it speaks one protocol; only app chooses a store, so that an embedding program compiles no S3 client",
	},
	{
		Package: "internal/secret",
		Because: "any package may have a setting that holds a password",
	},
	{
		Package: "internal/kms",
		Because: "it speaks to one service; only app chooses a KMS, so that an embedding program compiles no AWS SDK",
	},
	{
		Package: "internal/keyring", May: []string{"internal/pg", "internal/secret", "internal/setting"},
		Because: "any owner of a table may have secrets to encrypt, so it knows none of them",
	},
	{
		Package: "internal/devserver", May: []string{"internal/devserver/freeport"},
		Because: "it starts other people's servers and knows nothing of mail",
	},
	{
		Package: "internal/devserver/freeport",
		Because: "whoever starts a server may ask it for a port, so it knows nothing",
	},
	{
		Package: "internal/telemetry",
		Because: "what is traced is said by those who trace, so it knows nothing of mail",
	},
	{
		Package: "internal/tracecontext",
		Because: "producers trace their inserts by it, and must not pull in what records metrics and logs",
	},
	{
		Package: "internal/health", May: []string{"internal/blobs", "internal/keyring", "internal/pg", "internal/setting", "internal/stream"},
		Because: "it knows errors of the database, the broker, the blob store and the secrets' keys, and nothing of what the parts do",
	},
	{
		Package: "internal/retention", May: []string{"events", "internal/pg"},
		Because: "how long rows are kept is said by the packages that own them",
	},
	{
		Package: "internal/relay", May: []string{"events", "internal/faults", "internal/stream", "internal/telemetry", "internal/tracecontext", "outbox"},
		Because: "the relay moves what the outbox holds to the broker; who takes it from there is not its concern",
	},
	{
		Package: "internal/telemetry/export", May: []string{"internal/secret"},
		Because: "it ships spans of whatever kind, and only app decides that it does",
	},
	{
		Package: "internal/eventtype", May: []string{"events", "internal/input", "internal/pg", "internal/tenancy"},
		Because: "producers ask which types there are in their own transactions, and must not pull in what reads schemas",
	},
	{
		Package: "internal/eventschema", May: []string{"events", "events/schema", "internal/eventtype", "internal/pg"},
		Because: "whether data fits is said by the data and the type alone; who hands it in is not its concern",
	},
	{
		Package: "outbox", May: []string{"events", "internal/eventtype", "internal/input", "internal/mailsearch", "internal/pg", "internal/retention", "internal/tracecontext"},
		Because: "producers call Insert in their own transactions and must not meet what happens afterwards",
	},
	{
		Package: "internal/jsonscan",
		Because: "where a value begins and ends is said by the bytes alone",
	},
	{
		Package: "internal/datafilter", May: []string{"events", "internal/input", "internal/jsonscan"},
		Because: "whether an event meets conditions is said by its bytes alone; who asks is not its concern",
	},
	{
		Package: "internal/mailsearch", May: []string{"events", "internal/jsonscan"},
		Because: "whether a mail fits a search is said by its bytes alone; who stored it is not its concern",
	},
	{
		Package: "events/email",
		Because: "receivers import it to read events, and must not pull Fanmail in",
	},
	{
		Package: "events/operational",
		Because: "receivers import it to read events, and must not pull Fanmail in",
	},
	{
		Package: "events/schema", May: []string{"events", "events/email", "events/operational"},
		Because: "the schemas are made of the types that receivers read, and of nothing else",
	},
	{
		Package: "internal/mailparse",
		Because: "what a mail says stands in its bytes alone; who received it and what is made of it is not its concern",
	},
	{
		Package: "internal/mailauth", May: []string{"events/email"},
		Because: "who sent a mail is between the mail and DNS; nothing else of ours has a say",
	},
	{
		Package: "internal/domaincheck", May: []string{"events/email", "internal/mailauth"},
		Because: "what a domain needs is said by DNS and by its SMTP servers; whose domain it is does not matter",
	},
	{
		Package: "internal/milter", May: []string{"events/email"},
		Because: "what filters say of a mail is between them and the mail; whose mail it is does not matter",
	},
	{
		Package: "internal/ingest", May: []string{"events", "events/email", "events/schema", "internal/agentwebhook", "internal/blobs", "internal/eventschema", "internal/mailauth", "internal/mailbox", "internal/mailparse", "internal/milter", "internal/pg", "internal/rawmail", "internal/stream", "internal/telemetry", "internal/tenancy", "internal/tracecontext", "internal/usage", "outbox"},
		Because: "ingest ends at the outbox and the agents' deliveries; it must not wait for subscribers",
	},
	{
		Package: "internal/rawmail", May: []string{"events/email", "internal/mailbox", "internal/milter", "internal/pg", "internal/stream"},
		Because: "it carries mails as they are; what is in them, and what becomes of them, is ingest's concern",
	},
	{
		Package: "subscribers", May: []string{"events", "events/schema", "internal/attempt", "internal/datafilter", "internal/endpoint", "internal/eventtype", "internal/input", "internal/keyring", "internal/mailbox", "internal/opevents", "internal/pg", "internal/retention", "internal/retry", "internal/tenancy", "outbox", "subscribers/signature"},
		Because: "it owns the tables of webhooks and deliveries; the engine uses it and not the reverse",
	},
	{
		Package: "internal/webhookrequest", May: []string{"events", "internal/attempt", "subscribers/signature"},
		Because: "what a request holds is said by the event, the delivery and the signature; who sends it, and who shows it, is not its concern",
	},
	{
		Package: "internal/opevents", May: []string{"events", "internal/pg", "internal/retention", "outbox"},
		Because: "facts become events as anybody's do, through the outbox, and whoever wrote the fact does not wait for that",
	},
	{
		Package: "internal/alertmail", May: []string{"events", "events/operational", "internal/opevents", "internal/secret", "internal/tenancy"},
		Because: "it sends what is due to whom it is for; what is due, and how often, is decided where the facts are",
	},
	{
		Package: "fanout", May: []string{"events", "internal/faults", "internal/stream", "internal/telemetry", "internal/tracecontext", "outbox", "subscribers"},
		Because: "fan-out makes deliveries and hands them to the broker; it never calls the dispatcher",
	},
	{
		Package: "internal/dispatch", May: []string{"deploy/migrations", "events", "internal/activity", "internal/attempt", "internal/dispatch/scheduler", "internal/faults", "internal/pg", "internal/retention", "internal/stream", "internal/telemetry", "internal/tracecontext", "internal/webhookrequest", "outbox", "subscribers", "subscribers/signature"},
		Because: "the dispatcher lives on delivery messages and rows, whoever made them; its maintenance makes the partitions of the schema",
	},
	{
		Package: "internal/dispatch/scheduler", May: []string{"events"},
		Because: "the scheduler is pure: events and a time go in, commands come out",
	},
	{
		Package: "internal/replay", May: []string{"events", "internal/input", "internal/mailbox", "internal/faults", "internal/pg", "internal/retention", "internal/stream", "internal/tenancy", "outbox", "subscribers"},
		Because: "a replay makes deliveries of past events, as the fan-out does of new ones; who sends them is not its concern",
	},
	{
		Package: "internal/mailbox", May: []string{"events", "internal/blobs", "internal/input", "internal/pg", "internal/retention", "internal/setting"},
		Because: "what agents received is read by every path, so it knows none of them",
	},
	{
		Package: "internal/e2aenvelope", May: []string{"events", "events/email"},
		Because: "an old envelope is a matter of bytes; who stored it, and who gets it, is not its concern",
	},
	{
		Package: "internal/importe2a", May: []string{"deploy/migrations", "events", "internal/agentwebhook", "internal/e2aenvelope", "internal/mailbox", "internal/pg", "internal/secret", "internal/tenancy", "outbox", "subscribers", "subscribers/signature"},
		Because: "an import writes through the owners of the tables, and nothing of Fanmail knows where it came from",
	},
	{
		Package: "internal/agentwebhook", May: []string{"events", "events/email", "internal/activity", "internal/attempt", "internal/blobs", "internal/e2aenvelope", "internal/mailbox", "internal/pg", "internal/retention", "internal/retry", "outbox"},
		Because: "the per-agent webhook runs beside the subscribers' path and neither disturbs the other",
	},
	{
		Package: "internal/audit", May: []string{"events", "internal/pg", "internal/retention"},
		Because: "every change is written to it, so it knows none of them",
	},
	{
		Package: "internal/tenancy", May: []string{"events", "internal/input", "internal/pg", "internal/retention", "internal/secret"},
		Because: "whose something is is asked by everybody, so it knows nobody else",
	},
	{
		Package: "internal/setting",
		Because: "every package that names a setting in an error uses it",
	},
	{
		Package: "internal/usage", May: []string{"events", "internal/pg", "internal/retention", "internal/tenancy"},
		Because: "all ways in count with it, so it knows none of them",
	},
	{
		Package: "internal/erasure", May: []string{"events", "internal/agentwebhook", "internal/blobs", "internal/input", "internal/mailbox", "internal/mailparse", "internal/mailsearch", "internal/pg", "internal/replay", "internal/retention", "internal/stream", "internal/tenancy", "outbox", "subscribers"},
		Because: "it asks the owner of each table to remove its rows, and none of them knows of it",
	},
	{
		Package: "internal/api", May: []string{"deploy/migrations", "events", "events/schema", "internal/agentwebhook", "internal/audit", "internal/blobs", "internal/erasure", "internal/eventschema", "internal/eventtype", "internal/ingest", "internal/input", "internal/keyring", "internal/mailbox", "internal/mailparse", "internal/mailsearch", "internal/operator", "internal/pg", "internal/release", "internal/replay", "internal/retention", "internal/retry", "internal/stream", "internal/tenancy", "internal/usage", "internal/webhookrequest", "outbox", "subscribers", "subscribers/signature"},
		Because: "handlers translate, and read a mail as ingest did; what moves events runs in other processes",
	},
	{
		Package: "internal/openid", May: []string{"events", "internal/input", "internal/secret"},
		Because: "who somebody is, and in which groups, is between the provider and them; what sessions are is the console's concern",
	},
	{
		Package: "internal/console", May: []string{"events", "internal/api", "internal/apiclient", "internal/input", "internal/mailsearch", "internal/openid", "internal/operator", "internal/pg", "internal/retention", "internal/secret", "internal/tenancy"},
		Because: "pages show what the API says and do what it may: the console has rights and SQL of its own for sessions alone",
	},
	{
		Package: "internal/operator", May: []string{"events", "internal/activity", "internal/agentwebhook", "internal/dispatch", "internal/health", "internal/stream", "internal/tenancy", "outbox", "subscribers"},
		Because: "it reads what the owners of the tables and the dispatchers know, and runs nothing of them",
	},
	{
		Package: "internal/testdb", May: []string{"deploy/migrations", "internal/devserver"},
		Because: "it gives tests databases with the schema and knows nothing of what is in them",
	},
	{
		Package: "fanmailtest", May: []string{".", "events", "internal/devserver", "internal/testdb", "subscribers/signature"},
		Because: "it is for other programs' tests, which see Fanmail as those programs do: through the client",
	},
	{
		Package: "internal/engine", May: []string{"deploy/migrations", "events", "fanout", "internal/activity", "internal/agentwebhook", "internal/attempt", "internal/blobs", "internal/dispatch", "internal/e2aenvelope", "internal/erasure", "internal/eventtype", "internal/health", "internal/keyring", "internal/mailbox", "internal/opevents", "internal/pg", "internal/relay", "internal/replay", "internal/retention", "internal/stream", "internal/tenancy", "internal/usage", "outbox", "subscribers"},
		Because: "it wires the engine for the client and for the processes, so neither may be below it",
	},
	{
		Package: ".", May: []string{"deploy/migrations", "events", "internal/agentwebhook", "internal/attempt", "internal/engine", "internal/eventschema", "internal/eventtype", "internal/input", "internal/keyring", "internal/mailbox", "internal/pg", "internal/replay", "internal/secret", "internal/stream", "internal/tenancy", "outbox", "subscribers", "subscribers/signature"},
		Because: "the client is small: it manages through the owners of the tables, and runs the engine",
	},
	{
		Package: "internal/app", May: []string{"deploy/migrations", "deploy/postgres", "events", "fanout", "internal/agentwebhook", "internal/alertmail", "internal/api", "internal/apiclient", "internal/blobs", "internal/blobs/s3", "internal/console", "internal/devserver", "internal/dispatch", "internal/domaincheck", "internal/engine", "internal/erasure", "internal/faults", "internal/health", "internal/importe2a", "internal/ingest", "internal/keyring", "internal/kms", "internal/mailbox", "internal/milter", "internal/openid", "internal/opevents", "internal/pg", "internal/rawmail", "internal/relay", "internal/release", "internal/replay", "internal/retention", "internal/secret", "internal/setting", "internal/stream", "internal/telemetry/export", "internal/tenancy", "internal/usage", "outbox", "subscribers", "subscribers/signature"},
		Because: "app wires everything, so only commands may stand above it",
	},
	{
		Package: "internal/assistant", May: []string{"internal/apiclient", "internal/mailsearch"},
		Because: "an assistant sees what the API shows to a key, and has no way of its own to anything",
	},
	{
		Package: "internal/apiclient",
		Because: "the CLI's client speaks HTTP with the API, as anybody's would",
	},
	{
		Package: "internal/capacity",
		Because: "it is arithmetic about the system and runs none of it",
	},
	{
		Package: "cmd/*", May: []string{"internal/api", "internal/app", "internal/assistant", "internal/input", "internal/apiclient", "internal/capacity", "deploy/migrations", "internal/devserver", "events", "internal/health", "internal/importe2a", "internal/keyring", "internal/mailsearch", "internal/stream", "internal/pg", "internal/secret", "subscribers/signature"},
		Because: "a command reads its configuration and runs app; what it does itself nobody could test or reuse",
	},
}

// ForeignModules are the modules that public packages may import. A new one is a new dependency of every importer.
var ForeignModules = []Foreign{
	{Package: "events", Because: "receivers import it to read events, so it depends on the standard library alone"},
	{Package: "events/email", Because: "receivers import it to read events, so it depends on the standard library alone"},
	{Package: "events/operational", Because: "receivers import it to read events, so it depends on the standard library alone"},
	{Package: "events/schema", Because: "receivers import it to validate events, so it depends on the standard library alone"},
	{Package: "subscribers/signature", Because: "receivers import it to verify requests, so it depends on the standard library alone"},
	{
		Package: "receivers/go", Modules: []string{"github.com/standard-webhooks/standard-webhooks/libraries"},
		Because: "receivers import it to verify requests, so it depends on the library of Standard Webhooks alone",
	},
	{
		Package: "clients/go", Modules: []string{"github.com/oapi-codegen/nullable", "github.com/oapi-codegen/runtime"},
		Because: "callers of the API import it, so it depends on what the generated code needs alone",
	},
	{
		Package: "outbox", Modules: []string{"github.com/jackc/pgx/v5", "go.opentelemetry.io/otel"},
		Because: "a producer imports it to insert events in its own traced transaction, and needs a driver and the tracing API for that alone",
	},
	{
		Package: "fanout", Modules: []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "github.com/cenkalti/backoff/v4", "github.com/prometheus/client_golang", "go.opentelemetry.io/otel", "go.uber.org/zap", "golang.org/x/sync"},
		Because: "it runs in the embedding program, and knows the database, the broker, logs, metrics and traces alone",
	},
	{
		Package: "subscribers", Modules: []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "go.uber.org/zap"},
		Because: "it owns tables and announces changes of webhooks, and knows the database, the broker and logs alone",
	},
	{
		Package: ".", Modules: []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "github.com/prometheus/client_golang", "go.uber.org/zap", "golang.org/x/sync"},
		Because: "an embedding program chooses its own framework; the client takes its pool, its connection and its logger",
	},
	{
		Package: "fanmailtest", Modules: []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "go.uber.org/zap"},
		Because: "it starts the servers that a test needs, and leaves the choice of an assertion library to the test",
	},
}

// Words are private words that have given way to the field's terms.
var Words = []Word{
	{Forms: []string{"alarm", "alarms"}, Instead: "timer"},
	{Forms: []string{"rung"}, Instead: "woken"},
	{Forms: []string{"crowd", "crowds"}, Instead: "slow start"},
	{Forms: []string{"rush", "rushes"}, Instead: "slow start"},
	{Forms: []string{"seat", "seats"}, Instead: "in-flight list"},
	{Forms: []string{"stock", "stocks"}, Instead: "memory budget"},
	{Forms: []string{"unpark", "unparked"}, Instead: "release"},
	{Forms: []string{"gutted"}, Instead: "state lost"},
	{Forms: []string{"ledger", "ledgers"}, Instead: "outcome writer"},
	{Forms: []string{"parked", "parking"}, Instead: "released, or due"},
	{Forms: []string{"swept", "sweeps"}, Instead: "fetched"},
	{Forms: []string{"bury", "buried"}, Instead: "dead letter"},
	{Forms: []string{"purse", "afford"}, Instead: "limiter"},
	{Forms: []string{"lookout"}, Instead: "position"},
	{Forms: []string{"tally"}, Instead: "delta"},
}

// ForbiddenNames are package names that say nothing about what is inside.
var ForbiddenNames = []string{"utils", "util", "common", "helpers", "helper", "models", "misc", "shared"}
