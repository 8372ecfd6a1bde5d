-- +goose Up
-- All of Fanmail lives in the schema fanmail. Every statement names the schema, so
-- that search_path does not matter. `fanmail migrate` creates the schema.

-- The bucket of a time. Tables of derived keys are partitioned by bucket; one
-- bucket is 30 days (2,592,000 s), counted from 1970.
CREATE FUNCTION fanmail.bucket(at timestamptz) RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
    RETURN floor(extract(epoch FROM at) / 2592000)::integer;

-- The key by which an event is found: the hour of a time, counted from 1970, before 40 bits of a hash. NULL for the hash 0.
CREATE FUNCTION fanmail.search_key(at timestamptz, hash bigint) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN hash <> 0 THEN ((floor(date_part('epoch', at) / 3600)::bigint << 40) | hash) END;

CREATE TABLE fanmail.tenants (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    -- An operator's tenant: its webhooks get the operational events of all tenants.
    operator   boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Who gets a mail about the tenant's failing webhooks. Only operators add addresses.
    alert_addresses text[] NOT NULL DEFAULT '{}',
    -- Since when nobody may use it: its erasure waits, or runs.
    deleted_at timestamptz
);

CREATE INDEX tenants_operator ON fanmail.tenants (id) WHERE operator;
CREATE INDEX tenants_created ON fanmail.tenants (created_at DESC, id DESC);
-- Searches by the beginning of a name, in any case.
CREATE INDEX tenants_name ON fanmail.tenants (lower(name) COLLATE "C", id);

CREATE TABLE fanmail.api_keys (
    id           uuid PRIMARY KEY,
    tenant_id    uuid REFERENCES fanmail.tenants (id), -- NULL: an operator's key
    name         text NOT NULL DEFAULT '',
    scopes       text[] NOT NULL DEFAULT '{admin}', -- roles; none: no rights
    secret_hash  bytea NOT NULL UNIQUE,        -- SHA-256 of the secret
    prefix       text,                         -- how the secret begins; NULL: imported
    networks     cidr[] NOT NULL DEFAULT '{}', -- from where it is accepted; none: from everywhere
    rate_limit   integer CHECK (rate_limit > 0), -- requests a second; NULL: the server's limit
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at   timestamptz,
    expires_at   timestamptz,                  -- NULL: never
    rotated_at   timestamptz,
    previous_hash  bytea,                      -- the secret before the last rotation, and until when it is accepted
    previous_until timestamptz
);
CREATE UNIQUE INDEX api_keys_previous ON fanmail.api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX api_keys_tenant ON fanmail.api_keys (tenant_id, created_at DESC, id DESC);
CREATE INDEX api_keys_revoked ON fanmail.api_keys (revoked_at) WHERE revoked_at IS NOT NULL;

-- Links to a view of some webhooks, for a tenant's customers. DELETE sets revoked_at.
CREATE TABLE fanmail.portal_links (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES fanmail.tenants (id),
    webhook_ids uuid[] NOT NULL,
    token_hash  bytea NOT NULL UNIQUE,         -- SHA-256 of the token in the link
    origins     text[] NOT NULL,               -- whose pages may embed it
    theme       jsonb NOT NULL,
    created_by  uuid,                          -- the API key; NULL: a member of the tenant
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
CREATE INDEX portal_links_tenant ON fanmail.portal_links (tenant_id, created_at DESC, id DESC);
CREATE INDEX portal_links_valid ON fanmail.portal_links (tenant_id, expires_at) WHERE revoked_at IS NULL;
CREATE INDEX portal_links_ended ON fanmail.portal_links (expires_at);

-- Who changed what. No process may change or delete an entry.
CREATE TABLE fanmail.audit_log (
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    tenant_id  uuid,                           -- whose data; NULL: the installation
    actor_kind text NOT NULL CHECK (actor_kind IN ('key', 'member', 'portal')),
    actor_id   text NOT NULL,
    actor_name text NOT NULL,
    address    inet,
    operation  text NOT NULL,
    object     text NOT NULL,
    before     jsonb,
    after      jsonb,
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);
CREATE INDEX audit_log_tenant ON fanmail.audit_log (tenant_id, created_at DESC, id DESC);

-- What the operator has set for a tenant. NULL: the server's default.
CREATE TABLE fanmail.tenant_quotas (
    tenant_id           uuid PRIMARY KEY REFERENCES fanmail.tenants (id),
    requests_per_second bigint CHECK (requests_per_second > 0),
    event_streams       bigint CHECK (event_streams > 0),
    keys                bigint CHECK (keys > 0),
    agents              bigint CHECK (agents > 0),
    webhooks            bigint CHECK (webhooks > 0),
    events_per_second   bigint CHECK (events_per_second > 0),
    events_per_day      bigint CHECK (events_per_day > 0),
    bytes_per_day       bigint CHECK (bytes_per_day > 0),
    replays_per_hour    bigint CHECK (replays_per_hour > 0),
    domains             bigint CHECK (domains > 0),
    changes_per_day     bigint CHECK (changes_per_day > 0),
    -- For how many days its rows are kept; NULL: as the installation does.
    event_days          bigint CHECK (event_days > 0),
    delivery_days       bigint CHECK (delivery_days > 0),
    mail_days           bigint CHECK (mail_days > 0)
);
CREATE INDEX tenant_quotas_kept ON fanmail.tenant_quotas (tenant_id) WHERE coalesce(event_days, delivery_days, mail_days) IS NOT NULL;

-- What a tenant has used on a UTC day.
CREATE TABLE fanmail.tenant_usage (
    tenant_id uuid NOT NULL,
    day       date NOT NULL,
    events    bigint NOT NULL DEFAULT 0,
    bytes     bigint NOT NULL DEFAULT 0,       -- of requests, messages and mails, as they came
    changes   bigint NOT NULL DEFAULT 0,       -- requests that the audit log has, but deletions and what counts as events
    PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);

CREATE TABLE fanmail.agents (
    address     text PRIMARY KEY,              -- lower case; *@example.com takes what no other agent of the domain does
    domain      text GENERATED ALWAYS AS (split_part(address, '@', -1)) STORED,
    tenant_id   uuid NOT NULL REFERENCES fanmail.tenants (id),
    webhook_url text,
    -- From whom it accepts mail: sorted addresses, @domain, *.domain. An empty list allows all.
    allow_senders text[] NOT NULL DEFAULT '{}',
    deny_senders  text[] NOT NULL DEFAULT '{}',
    require_dmarc boolean NOT NULL DEFAULT false,
    suspended     boolean NOT NULL DEFAULT false, -- it takes no mail: its tenant is deleted
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agents_tenant ON fanmail.agents (tenant_id, address);
CREATE INDEX agents_domain ON fanmail.agents (domain);
CREATE INDEX agents_created ON fanmail.agents (created_at);

-- Mail domains. Several tenants may claim one; one has verified it.
CREATE TABLE fanmail.domains (
    name        text NOT NULL,                 -- lower case, ASCII; '*': every domain that no other tenant has
    tenant_id   uuid NOT NULL REFERENCES fanmail.tenants (id),
    token       text NOT NULL,                 -- of the TXT record that proves it
    verified_at timestamptz,                   -- NULL: not proven
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, tenant_id)
);
CREATE INDEX domains_tenant ON fanmail.domains (tenant_id, name);
CREATE INDEX domains_unproven ON fanmail.domains (created_at) WHERE verified_at IS NULL;
CREATE UNIQUE INDEX domains_owner ON fanmail.domains (name) WHERE verified_at IS NOT NULL;

-- Addresses and domains that were deleted: other tenants can't have them for 30 days.
CREATE TABLE fanmail.released_names (
    name        text PRIMARY KEY,
    tenant_id   uuid NOT NULL,                 -- the last owner
    released_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX released_names_tenant ON fanmail.released_names (tenant_id);
CREATE INDEX released_names_at ON fanmail.released_names (released_at);

-- The keys with which secrets may be sealed.
CREATE TABLE fanmail.secret_keys (
    id         text PRIMARY KEY,               -- the key's id in its keyset, in hexadecimal
    proof      text NOT NULL,                  -- a known text, sealed with the key
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The event types that tenants and operators have made. The built-in ones are in the code.
CREATE TABLE fanmail.event_types (
    tenant_id   uuid REFERENCES fanmail.tenants (id), -- NULL: an operator's, for every tenant
    name        text COLLATE "C" NOT NULL,     -- such as order.created
    description text NOT NULL DEFAULT '',
    schema      json,                          -- JSON Schema of the data, as it was sent; NULL: none
    schema_hash bytea CHECK ((schema IS NULL) = (schema_hash IS NULL)), -- SHA-256 of schema
    sample      json,                          -- data of a test; NULL: none
    deprecated  boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);
CREATE UNIQUE INDEX event_types_operator ON fanmail.event_types (name) WHERE tenant_id IS NULL;

CREATE TABLE fanmail.webhooks (
    id                       uuid PRIMARY KEY,
    tenant_id                uuid NOT NULL REFERENCES fanmail.tenants (id),
    -- Whether deliveries are POSTed to the URL, polled by a consumer, or published at a NATS broker. It never changes. A
    -- webhook to be polled has neither a URL nor a signing secret.
    kind                     text NOT NULL DEFAULT 'push' CHECK (kind IN ('push', 'pull', 'nats')),
    url                      text NOT NULL,
    description              text NOT NULL DEFAULT '',
    events                   text[] NOT NULL,
    filter_agent_ids         text[] NOT NULL DEFAULT '{}',
    filter_conversation_ids  text[] NOT NULL DEFAULT '{}',
    filter_labels            text[] NOT NULL DEFAULT '{}',
    filter_data              text,     -- conditions on the data, as JSON; NULL: none
    enabled                  boolean NOT NULL DEFAULT true,
    max_in_flight            integer NOT NULL DEFAULT 1024 CHECK (max_in_flight BETWEEN 1 AND 4096),
    rate_limit               integer CHECK (rate_limit > 0), -- a second; NULL: none
    ordering                 text NOT NULL DEFAULT 'none' CHECK (ordering IN ('none', 'strict')),
    timeout_seconds          smallint CHECK (timeout_seconds BETWEEN 1 AND 30), -- of an attempt; NULL: the default
    retry                    jsonb,    -- the webhook's own policy; NULL: the default schedule
    max_attempts             smallint NOT NULL DEFAULT 8 CHECK (max_attempts BETWEEN 1 AND 30), -- of each delivery, by the policy
    -- Headers, credentials, certificates, a broker's subject and the key of Ed25519, as JSON, sealed if there is a key; NULL: none.
    request_settings         text,
    -- The form of the envelope that it gets until a time; NULL: Fanmail's own.
    envelope                 text CHECK (envelope = 'v0.4'),
    envelope_until           timestamptz CHECK ((envelope IS NULL) = (envelope_until IS NULL)),
    signing_secret           text NOT NULL,    -- sealed if there is a key; '' of a deleted webhook
    previous_secrets         text[] NOT NULL DEFAULT '{}', -- rotated away, newest first; sealed likewise
    previous_until           timestamptz[] NOT NULL DEFAULT '{}', -- until when each of them signs
    created_at               timestamptz NOT NULL DEFAULT now(),
    last_delivered_at        timestamptz,
    last_polled_at           timestamptz,      -- to some seconds; NULL: never, or kind <> 'pull'
    enabled_at               timestamptz NOT NULL DEFAULT now(), -- enabled or resumed: since when failures count
    auto_disabled_at         timestamptz,
    disabled_reason          text,
    paused_at                timestamptz,      -- since when its deliveries wait; NULL: it is not paused
    -- Told to be failing, or enabled again after an automatic disabling, and nothing delivered since.
    recovering               boolean NOT NULL DEFAULT false,
    deleted_at               timestamptz,
    disabled_at              timestamptz,      -- the last time that it was disabled, by whomever
    -- The last time that events or filters changed; NULL: never.
    matching_changed_at      timestamptz,
    -- The transaction that changed the row last. Readers ask for everything
    -- from their last snapshot's xmin on, which misses no late committer.
    changed_xid              xid8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (fillfactor = 70);
CREATE INDEX webhooks_tenant ON fanmail.webhooks (tenant_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_deleted ON fanmail.webhooks (tenant_id, deleted_at DESC) WHERE deleted_at IS NOT NULL;
CREATE INDEX webhooks_changed ON fanmail.webhooks (changed_xid);

-- +goose StatementBegin
CREATE FUNCTION fanmail.webhooks_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    IF OLD.enabled AND NOT NEW.enabled THEN
        NEW.disabled_at := now();
    END IF;
    IF (NEW.events, NEW.filter_agent_ids, NEW.filter_conversation_ids, NEW.filter_labels, NEW.filter_data)
        IS DISTINCT FROM (OLD.events, OLD.filter_agent_ids, OLD.filter_conversation_ids, OLD.filter_labels, OLD.filter_data) THEN
        NEW.matching_changed_at := now();
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- The trigger leaves out last_delivered_at and last_polled_at: no reader caches them, and they change often.
CREATE TRIGGER webhooks_stamp BEFORE UPDATE OF
    url, description, events, filter_agent_ids, filter_conversation_ids, filter_labels, filter_data, enabled, paused_at,
    max_in_flight, rate_limit, ordering, timeout_seconds, retry, max_attempts, request_settings,
    envelope, envelope_until, signing_secret, previous_secrets, previous_until, deleted_at
    ON fanmail.webhooks FOR EACH ROW EXECUTE FUNCTION fanmail.webhooks_stamp();

-- The event log. The envelope is POSTed byte for byte, hence bytea.
CREATE TABLE fanmail.events (
    id              uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    tenant_id       uuid NOT NULL,
    type            text NOT NULL,
    seq             bigint NOT NULL,           -- the outbox sequence; negative if replays leave the event out
    agent_id        text,
    conversation_id text,
    labels          text[],
    message_id      text,
    envelope        bytea NOT NULL,
    traceparent     text,                      -- W3C; NULL unless the event is sampled
    -- Hour and hash of message_id, and of the Message-ID header in the envelope. NULL for none, and, in message_key, for
    -- received mail: the id of its event is derived from message_id.
    message_key     bigint,
    header_key      bigint,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
ALTER TABLE fanmail.events ALTER COLUMN envelope SET STORAGE EXTERNAL;
CREATE INDEX events_tenant ON fanmail.events (tenant_id, created_at DESC, id DESC);
CREATE INDEX events_message ON fanmail.events (message_key, created_at DESC) WHERE message_key IS NOT NULL;
CREATE INDEX events_header ON fanmail.events (header_key, created_at DESC) WHERE header_key IS NOT NULL;

-- The event ids that were derived from an idempotency key, in buckets of 30 days:
-- at most one event for a key within 30 days, exact under concurrency.
CREATE TABLE fanmail.event_keys (
    bucket   integer NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (bucket, event_id)
) PARTITION BY RANGE (bucket);

-- Tenants that have, or had, a webhook with ordering = 'strict'. Their inserts
-- take a lock of the tenant, so that sequence and commit order agree.
CREATE TABLE fanmail.strict_tenants (tenant_id uuid PRIMARY KEY);

-- Deleted tenants: an insert of an event for one of them is refused. A row stays when the tenant has been erased.
CREATE TABLE fanmail.closed_tenants (tenant_id uuid PRIMARY KEY);

-- +goose StatementBegin
-- Ends a statement with the error that a producer gets who inserts an event of a deleted tenant.
CREATE FUNCTION fanmail.refuse_tenant(tenant uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'tenant ten_% was deleted', replace(tenant::text, '-', '') USING ERRCODE = 'FM001', DETAIL = tenant::text;
END $$;
-- +goose StatementEnd

-- A row means "not fanned out yet". It has no payload; the event is in events.
CREATE SEQUENCE fanmail.outbox_seq AS bigint CACHE 1;
CREATE TABLE fanmail.outbox (
    tenant_id    uuid NOT NULL,
    seq          bigint NOT NULL DEFAULT nextval('fanmail.outbox_seq'),
    event_id     uuid NOT NULL,
    created_at   timestamptz NOT NULL,         -- the event's
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    publishes    smallint NOT NULL DEFAULT 0,
    uncounted    integer,                      -- bytes that fan-out adds to what the tenant uses of the day; NULL: nothing
    PRIMARY KEY (tenant_id, seq)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000000);
CREATE INDEX outbox_lease ON fanmail.outbox (leased_until, seq);

-- One event for one webhook. created_at is the event's (or the replay's) time,
-- so that the same delivery always lands in the same partition.
CREATE TABLE fanmail.webhook_subscriber_deliveries (
    id               uuid NOT NULL,
    created_at       timestamptz NOT NULL,
    webhook_id       uuid NOT NULL,
    tenant_id        uuid NOT NULL,
    event_id         uuid NOT NULL,
    event_created_at timestamptz NOT NULL,     -- where the payload lies in events
    next_retry_at    timestamptz,              -- end of the lease, or the next attempt; NULL once final
    last_attempt_at  timestamptz,
    finished_at      timestamptz,
    expires_at       timestamptz NOT NULL,
    seq              bigint NOT NULL,          -- the event's outbox sequence
    attempts         smallint NOT NULL DEFAULT 0,
    max_attempts     smallint NOT NULL,
    last_status_code smallint,
    strict           boolean NOT NULL DEFAULT false, -- its webhook is in strict order
    leased           boolean NOT NULL DEFAULT false, -- next_retry_at is the end of a lease
    kind             text NOT NULL DEFAULT 'live' CHECK (kind IN ('live', 'test', 'replay')),
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    event_type       text NOT NULL,
    message_id       text,
    replay_id        uuid,
    last_error       text,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
-- Pending rows by webhook and due time: the dispatcher fetches by this index.
-- Finished rows are not in it, so it is as small as the backlog.
CREATE INDEX webhook_subscriber_deliveries_due ON fanmail.webhook_subscriber_deliveries (webhook_id, next_retry_at)
    WHERE status = 'pending' AND NOT strict;
-- The same for webhooks in strict order, in the order of sending.
CREATE INDEX webhook_subscriber_deliveries_strict ON fanmail.webhook_subscriber_deliveries (webhook_id, seq, created_at)
    WHERE status = 'pending' AND strict;
-- A webhook's history, newest first.
CREATE INDEX webhook_subscriber_deliveries_history ON fanmail.webhook_subscriber_deliveries (webhook_id, created_at DESC, id DESC);
-- Deliveries of an event outside its own millisecond, newest first: tests and replays. An event may have any number.
CREATE INDEX webhook_subscriber_deliveries_not_live ON fanmail.webhook_subscriber_deliveries (event_id, created_at DESC, id DESC)
    WHERE kind <> 'live';
-- Whether an event was redelivered to a webhook, by a replay or alone, and how that ended.
CREATE INDEX webhook_subscriber_deliveries_redelivered ON fanmail.webhook_subscriber_deliveries (event_id, webhook_id, status)
    WHERE kind = 'replay';
-- Deliveries of replays by the time of their end: a replay counts these.
CREATE INDEX webhook_subscriber_deliveries_replayed ON fanmail.webhook_subscriber_deliveries (replay_id, finished_at)
    WHERE kind = 'replay' AND finished_at IS NOT NULL;

-- Live deliveries that failed, by the time of their end: automatic disabling
-- counts these. A delivery that succeeds never enters the index.
CREATE INDEX webhook_subscriber_deliveries_failed ON fanmail.webhook_subscriber_deliveries (webhook_id, finished_at DESC)
    WHERE status = 'failed' AND kind = 'live';

-- A row for each failed attempt, and for a success after a failure.
CREATE TABLE fanmail.webhook_delivery_attempts (
    delivery_id uuid NOT NULL,
    created_at  timestamptz NOT NULL,          -- the delivery's
    attempt     smallint NOT NULL,
    at          timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    status_code smallint NOT NULL,             -- 0: no answer came
    reason      text NOT NULL,
    error       text,
    response    text,                          -- the first bytes, valid UTF-8
    PRIMARY KEY (delivery_id, created_at, attempt, at)
) PARTITION BY RANGE (created_at);

-- Raw mail, once for each SMTP transaction, whatever the number of agents. A large one may be in the blob store.
CREATE TABLE fanmail.message_raws (
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL,
    raw        bytea,                          -- NULL: in the blob store
    blob       text,                           -- its key there
    sha256     bytea,                          -- of the blob's content
    PRIMARY KEY (id, created_at),
    CHECK ((raw IS NULL) = (blob IS NOT NULL) AND (blob IS NULL) = (sha256 IS NULL))
) PARTITION BY RANGE (created_at);
ALTER TABLE fanmail.message_raws ALTER COLUMN raw SET STORAGE EXTERNAL; -- substring() then reads only what it gives

-- One message for each agent addressed.
CREATE TABLE fanmail.messages (
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL,           -- the event's
    tenant_id  uuid NOT NULL,
    agent_id   text NOT NULL,
    event_id   uuid NOT NULL,
    raw_id     uuid NOT NULL,
    raw_size   bigint NOT NULL,
    shared     boolean NOT NULL DEFAULT true,  -- other messages may name the same raw mail
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX messages_tenant ON fanmail.messages (tenant_id, created_at, id);
CREATE INDEX messages_shared ON fanmail.messages (raw_id) WHERE shared;

-- What is to be erased, how far that is, and what it has removed: the proof. A row outlives what it is about.
CREATE TABLE fanmail.erasures (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('message', 'address', 'tenant')),
    message_id   uuid CHECK ((message_id IS NOT NULL) = (kind = 'message')),
    address      text,                         -- NULL once the erasure has ended
    phase        text NOT NULL DEFAULT 'rows' CHECK (phase IN ('rows', 'late', 'mails', 'hits', 'streams', 'items', 'completed', 'cancelled')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL,                -- the API key's id, or the member's subject
    due_at       timestamptz NOT NULL DEFAULT now(), -- when a process takes the next step
    begins_at    timestamptz CHECK ((begins_at IS NOT NULL) = (kind = 'tenant')), -- when the grace period is over
    at_time      timestamptz,                  -- how far the phase is: the last event that was looked at
    at_id        uuid,                         -- the same, or the last item
    at_seq       bigint NOT NULL DEFAULT 0,    -- how far it is in the stream
    removed      jsonb NOT NULL DEFAULT '{}',  -- how many of each kind of thing
    not_searched bigint NOT NULL DEFAULT 0,    -- events that may have the address, in a mail that is gone
    writers      text[],                       -- of a tenant: transactions that may still insert events of it; NULL: not known yet
    finished_at  timestamptz,
    CHECK (finished_at IS NULL OR address IS NULL)
);
CREATE INDEX erasures_tenant ON fanmail.erasures (tenant_id, requested_at DESC, id DESC);
CREATE INDEX erasures_requested ON fanmail.erasures (requested_at DESC, id DESC);
CREATE INDEX erasures_due ON fanmail.erasures (due_at) WHERE finished_at IS NULL;
CREATE INDEX erasures_now ON fanmail.erasures (tenant_id) WHERE kind = 'tenant' AND finished_at IS NULL;
CREATE INDEX erasures_ended ON fanmail.erasures (finished_at) WHERE finished_at IS NOT NULL;

-- Erased things of which something may be left in a stream or the blob store, or be written late, and events whose mails
-- are searched for an address (unsure), and were searched (hit, miss). Deleted with the end of the erasure.
CREATE TABLE fanmail.erased_items (
    erasure_id uuid NOT NULL REFERENCES fanmail.erasures (id),
    id         uuid NOT NULL,                  -- of an event, a delivery or a raw mail
    kind       text NOT NULL CHECK (kind IN ('event', 'delivery', 'raw', 'unsure', 'hit', 'miss')),
    created_at timestamptz NOT NULL,
    blob       text,                           -- the raw mail's key in the blob store
    message_id uuid,                           -- of an event whose mail is searched
    lacks      text[],                         -- the members of its data from which addresses were cut
    PRIMARY KEY (erasure_id, id)
);
CREATE INDEX erased_items_searched ON fanmail.erased_items (erasure_id, kind, id) WHERE kind IN ('unsure', 'hit');

CREATE TABLE fanmail.idempotency_keys (
    tenant_id    uuid NOT NULL,                -- all zeros: the operator's
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    status       integer,                      -- NULL while the first request runs
    response     bytea,                        -- encrypted with a key derived from the API key
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_age ON fanmail.idempotency_keys (created_at);

-- Who is signed in to the console.
CREATE TABLE fanmail.console_sessions (
    token_hash       bytea PRIMARY KEY,        -- SHA-256 of the cookie's token
    key_id           uuid,                     -- the API key that signed in; NULL: an identity of OpenID Connect
    subject          text NOT NULL,            -- the key's id, or the identity's issuer and subject
    name             text NOT NULL DEFAULT '', -- of the key or the person, to be shown
    tenant_id        uuid,                     -- the identity's tenant; NULL: an operator, or a key
    scopes           text[] NOT NULL DEFAULT '{}', -- of the identity; empty for all
    viewed_tenant_id uuid,                     -- whom an operator looks at
    created_at       timestamptz NOT NULL DEFAULT now(),
    seen_at          timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL
);
CREATE INDEX console_sessions_tenant ON fanmail.console_sessions (tenant_id);
CREATE INDEX console_sessions_viewed ON fanmail.console_sessions (viewed_tenant_id) WHERE viewed_tenant_id IS NOT NULL;
CREATE INDEX console_sessions_expiry ON fanmail.console_sessions (expires_at);
CREATE INDEX console_sessions_subject ON fanmail.console_sessions (subject, created_at DESC);

-- One-time links to sign in to the console.
CREATE TABLE fanmail.console_links (
    token_hash bytea PRIMARY KEY,              -- SHA-256 of the link's token
    key_id     uuid NOT NULL,                  -- the API key whose session it opens
    expires_at timestamptz NOT NULL
);
CREATE INDEX console_links_expiry ON fanmail.console_links (expires_at);
CREATE INDEX console_links_key ON fanmail.console_links (key_id, expires_at DESC);

-- How each process stood at its last beat. Only people read it.
CREATE TABLE fanmail.processes (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL,
    name        text NOT NULL,
    version     text NOT NULL,
    components  jsonb NOT NULL,
    secret_keys text[] NOT NULL DEFAULT '{}', -- ids of the keys with which it opens secrets
    started     timestamptz NOT NULL DEFAULT now(),
    seen        timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Which dispatcher owns which partition of deliveries, by lease.
CREATE TABLE fanmail.dispatchers (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    alive_until timestamptz NOT NULL
);
CREATE TABLE fanmail.partition_owners (
    partition   smallint PRIMARY KEY,
    owner       uuid,
    epoch       bigint NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO fanmail.partition_owners (partition) SELECT generate_series(0, 31);

-- A mail for an agent that has a webhook of its own: one row, pending until it is
-- delivered, its attempts are used up, or its 48 hours are over.
CREATE TABLE fanmail.webhook_deliveries (
    message_id       uuid NOT NULL,
    created_at       timestamptz NOT NULL,     -- the message's
    tenant_id        uuid NOT NULL,
    agent_id         text NOT NULL,
    next_retry_at    timestamptz,              -- lease and retry: NULL once final
    last_attempt_at  timestamptz,
    finished_at      timestamptz,
    expires_at       timestamptz NOT NULL,
    attempts         smallint NOT NULL DEFAULT 0,
    max_attempts     smallint NOT NULL,
    last_status_code smallint,                 -- 0: no answer came
    leased           boolean NOT NULL DEFAULT false, -- next_retry_at is the end of a lease
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    last_error       text,
    PRIMARY KEY (message_id, created_at)
) PARTITION BY RANGE (created_at);
-- Pending rows by agent and due time. The index is as small as the backlog.
CREATE INDEX webhook_deliveries_due ON fanmail.webhook_deliveries (agent_id, next_retry_at) WHERE status = 'pending';
-- An agent's history, newest first.
CREATE INDEX webhook_deliveries_history ON fanmail.webhook_deliveries (tenant_id, agent_id, created_at DESC, message_id DESC);

-- One row for each replay of past events: the request, its progress, and the
-- process that works on it.
CREATE TABLE fanmail.replays (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES fanmail.tenants (id),
    webhook_id     uuid,                        -- NULL: every enabled webhook of the tenant
    mode           text NOT NULL CHECK (mode IN ('missed', 'all')),
    types          text[] NOT NULL DEFAULT '{}',
    agent_ids      text[] NOT NULL DEFAULT '{}',
    since          timestamptz NOT NULL,        -- the events' creation times, until excluded
    until          timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(), -- and its deliveries'
    state          text NOT NULL DEFAULT 'queued'
                   CHECK (state IN ('queued', 'running', 'cancelling', 'cancelled', 'completed')),
    -- A replay waits for the fan-out ('wait'). It reads the table up to the boundary
    -- ('before') and the stream from there on ('stream'), and counts whether the stream
    -- was complete ('check'). If it was not, the table is read instead ('after').
    phase          text NOT NULL DEFAULT 'wait'
                   CHECK (phase IN ('wait', 'before', 'stream', 'check', 'after', 'done')),
    boundary       timestamptz,
    at_time        timestamptz,                 -- the last event read from the table
    at_id          uuid,
    at_seq         bigint NOT NULL DEFAULT 0,   -- the last message read from the stream
    end_seq        bigint NOT NULL DEFAULT 0,   -- and the last one to read
    seen           bigint NOT NULL DEFAULT 0,   -- events of the window that the stream had
    from_stream    boolean NOT NULL DEFAULT false,
    from_table     boolean NOT NULL DEFAULT false,
    matched        bigint NOT NULL DEFAULT 0,
    matched_before bigint NOT NULL DEFAULT 0,   -- of them, before the boundary
    enqueued       bigint NOT NULL DEFAULT 0,
    delivered      bigint NOT NULL DEFAULT 0,
    failed         bigint NOT NULL DEFAULT 0,
    runner         uuid,                        -- the current claim; every write checks it
    leased_until   timestamptz NOT NULL DEFAULT '-infinity',
    due_at         timestamptz NOT NULL DEFAULT now(), -- when a runner looks at it next
    moved_at       timestamptz NOT NULL DEFAULT now(), -- when it last made progress
    looked_at      timestamptz NOT NULL DEFAULT now(), -- when a runner that released it last looked for ended deliveries
    finished_at    timestamptz
) WITH (fillfactor = 50);
CREATE INDEX replays_tenant ON fanmail.replays (tenant_id, created_at DESC, id DESC);
CREATE INDEX replays_due ON fanmail.replays (due_at) WHERE finished_at IS NULL;

-- Events that a replay has found and not finished: at most some thousands for
-- each webhook. A row is deleted when its delivery is final.
CREATE TABLE fanmail.replay_deliveries (
    replay_id        uuid NOT NULL,
    webhook_id       uuid NOT NULL,
    seq              bigint NOT NULL,           -- the event's outbox sequence
    event_id         uuid NOT NULL,
    event_created_at timestamptz NOT NULL,
    event_type       text NOT NULL,
    message_id       text,
    state            smallint NOT NULL DEFAULT 0, -- 0 found, 1 enqueued, 2 attempted at least once
    PRIMARY KEY (replay_id, webhook_id, seq)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000000);
CREATE INDEX replay_deliveries_queue ON fanmail.replay_deliveries (replay_id, state, webhook_id, seq);

-- The conversation of each mail that was accepted or that an accepted mail
-- names, in buckets of 30 days. A row never changes; a row that is used again is
-- also written to the current bucket.
CREATE TABLE fanmail.conversation_keys (
    bucket       integer NOT NULL,
    tenant_id    uuid NOT NULL,
    mail         uuid NOT NULL,                -- hash of tenant and Message-ID
    conversation uuid NOT NULL,                -- conv_ and these 32 digits
    PRIMARY KEY (tenant_id, mail, bucket)
) PARTITION BY RANGE (bucket);

-- Facts that become operational events, and mails. The transaction of the fact writes
-- a row; the transaction that inserts the event into the outbox, or the fact into the
-- webhook's next mail, deletes it. There is one row for each tenant that has a webhook
-- for the type, and one for the mail.
CREATE TABLE fanmail.operational_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    tenant_id  uuid NOT NULL,                  -- the tenant that receives it
    mail       boolean NOT NULL DEFAULT false, -- it becomes a mail instead of an event
    type       text NOT NULL,
    data       jsonb NOT NULL                  -- the event's data
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The next mail about each webhook, and when the last one was sent: at most one a day.
CREATE TABLE fanmail.alert_mails (
    webhook_id uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    facts      jsonb NOT NULL DEFAULT '[]',    -- not mailed yet, the oldest first
    due_at     timestamptz,                    -- when to send, or the end of a lease; NULL: nothing to mail
    attempts   smallint NOT NULL DEFAULT 0,    -- of the next mail
    sent_at    timestamptz                     -- the last mail; NULL: none
) WITH (fillfactor = 70);
CREATE INDEX alert_mails_tenant ON fanmail.alert_mails (tenant_id);
CREATE INDEX alert_mails_due ON fanmail.alert_mails (due_at) WHERE due_at IS NOT NULL;

-- What `fanmail import` has brought from another system: one row for each, named by its first user.
CREATE TABLE fanmail.imports (
    source        uuid PRIMARY KEY,
    started_at    timestamptz NOT NULL DEFAULT now(),
    passed_at     timestamptz,                 -- the end of the last whole pass
    -- Rows of the other system that were created before these times have been taken, and have ended.
    events_at     timestamptz NOT NULL DEFAULT '-infinity',
    messages_at   timestamptz NOT NULL DEFAULT '-infinity',
    deliveries_at timestamptz NOT NULL DEFAULT '-infinity',
    agent_deliveries_at timestamptz NOT NULL DEFAULT '-infinity'
);
-- The tenants, keys, agents and webhooks of the other system as the last pass read them. A row that is changed here and
-- not there stays as it is here.
CREATE TABLE fanmail.imported_rows (
    source uuid NOT NULL,
    kind   text NOT NULL,
    id     text NOT NULL,                      -- there
    digest bytea NOT NULL,                     -- SHA-256 of the row
    PRIMARY KEY (source, kind, id)
);

-- +goose StatementBegin
-- Inserts operational events into the event log and the outbox, with the rights of its owner: a dispatcher may insert no
-- other event. It leaves out an event of another type, and one that is not about a webhook of its tenant; an operator's
-- tenant has the events of all. "heads" and "tails" are the envelopes before and after the creation time.
CREATE FUNCTION fanmail.insert_operational_events(ids uuid[], tenants uuid[], types text[], heads bytea[], tails bytea[])
    RETURNS TABLE (event_id uuid, event_created_at timestamptz)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH input AS MATERIALIZED (
    SELECT t.id, t.tenant_id, t.type, e.envelope, convert_from(e.envelope, 'UTF8')::jsonb AS body, t.n
    FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS t (id, tenant_id, type, head, tail, n),
         LATERAL (SELECT t.head || convert_to(to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') || t.tail AS envelope) AS e
), proper AS (
    SELECT i.* FROM input AS i
    WHERE i.type IN ('webhook.failing', 'webhook.disabled', 'webhook.recovered', 'delivery.exhausted') AND i.body ->> 'type' = i.type
      AND i.body ->> 'id' = 'evt_' || replace(i.id::text, '-', '')
      AND EXISTS (
          SELECT 1 FROM fanmail.webhooks AS w
          WHERE w.id = CASE WHEN i.body #>> '{data,webhook_id}' ~ '^wh_[0-9a-f]{32}$' THEN substr(i.body #>> '{data,webhook_id}', 4)::uuid END
            AND i.body #>> '{data,tenant_id}' = 'ten_' || replace(w.tenant_id::text, '-', '')
            AND (w.tenant_id = i.tenant_id OR EXISTS (SELECT 1 FROM fanmail.tenants AS t WHERE t.id = i.tenant_id AND t.operator)))
), numbered AS (
    SELECT p.*, nextval('fanmail.outbox_seq') AS seq FROM (SELECT * FROM proper ORDER BY n) AS p
), logged AS (
    INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
    SELECT id, now(), tenant_id, type, seq, envelope FROM numbered ORDER BY seq
)
INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at)
SELECT tenant_id, seq, id, now() FROM numbered ORDER BY seq
RETURNING event_id, created_at
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Makes the partitions that are missing: of each table partitioned by
-- created_at, "days" days from "from_day" on; of each table partitioned by
-- bucket, the buckets of 30 days that these days need. Returns how many it made.
CREATE FUNCTION fanmail.make_partitions(from_day date, days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
    day    date;
    made   integer := 0;
    b      integer;
BEGIN
    -- One caller works at a time; the others then find everything made.
    PERFORM pg_advisory_xact_lock(hashtextextended('fanmail.make_partitions', 0));
    FOR parent IN SELECT c.relname FROM pg_partitioned_table AS p
                  JOIN pg_class AS c ON c.oid = p.partrelid
                  JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                  WHERE a.attname = 'created_at' AND c.relnamespace = 'fanmail'::regnamespace ORDER BY c.relname LOOP
        FOR day IN SELECT from_day + i FROM generate_series(0, days - 1) AS i LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            IF to_regclass('fanmail.' || child) IS NULL THEN
                -- Create, then attach: ATTACH does not block reads and writes of
                -- the parent; CREATE ... PARTITION OF does.
                EXECUTE format('CREATE TABLE fanmail.%I (LIKE fanmail.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', child, parent);
                IF parent = 'events' THEN
                    -- An envelope of some kilobytes stays in its row: one
                    -- write, not one and a toasted chunk or two.
                    EXECUTE format('ALTER TABLE fanmail.%I SET (toast_tuple_target = 8160)', child);
                END IF;
                IF parent IN ('webhook_subscriber_deliveries', 'webhook_deliveries') THEN
                    EXECUTE format('ALTER TABLE fanmail.%I SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05)', child);
                END IF;
                EXECUTE format('ALTER TABLE fanmail.%I ATTACH PARTITION fanmail.%I FOR VALUES FROM (%L) TO (%L)', parent, child,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    FOR parent IN SELECT c.relname FROM pg_partitioned_table AS p
                  JOIN pg_class AS c ON c.oid = p.partrelid
                  JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                  WHERE a.attname = 'bucket' AND c.relnamespace = 'fanmail'::regnamespace ORDER BY c.relname LOOP
        FOR b IN SELECT DISTINCT fanmail.bucket((from_day + i)::timestamp AT TIME ZONE 'UTC') + k
                 FROM generate_series(0, days - 1) AS i, generate_series(-1, 1) AS k ORDER BY 1 LOOP
            child := parent || '_' || b;
            IF to_regclass('fanmail.' || child) IS NULL THEN
                EXECUTE format('CREATE TABLE fanmail.%I (LIKE fanmail.%I INCLUDING DEFAULTS)', child, parent);
                EXECUTE format('ALTER TABLE fanmail.%I ATTACH PARTITION fanmail.%I FOR VALUES FROM (%L) TO (%L)', parent, child, b, b + 1);
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd

SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 1, 9);
