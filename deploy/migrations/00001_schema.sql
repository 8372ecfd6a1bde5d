-- +goose Up

CREATE TABLE tenants (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    -- Set, and never unset, when the tenant gets its first webhook with
    -- ordering = 'strict': from then on its inserts take the tenant's lock.
    has_strict boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    tenant_id    uuid REFERENCES tenants (id), -- NULL: an operator's key
    name         text NOT NULL DEFAULT '',
    scopes       text[] NOT NULL DEFAULT '{}',
    secret_hash  bytea NOT NULL UNIQUE,        -- SHA-256 of the secret
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at DESC, id DESC);

CREATE TABLE agents (
    address     text PRIMARY KEY,              -- lower case
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    webhook_url text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agents_tenant ON agents (tenant_id, address);

CREATE TABLE webhooks (
    id                       uuid PRIMARY KEY,
    tenant_id                uuid NOT NULL REFERENCES tenants (id),
    url                      text NOT NULL,
    description              text NOT NULL DEFAULT '',
    events                   text[] NOT NULL,
    filter_agent_ids         text[] NOT NULL DEFAULT '{}',
    filter_conversation_ids  text[] NOT NULL DEFAULT '{}',
    filter_labels            text[] NOT NULL DEFAULT '{}',
    enabled                  boolean NOT NULL DEFAULT true,
    max_in_flight            integer NOT NULL DEFAULT 32 CHECK (max_in_flight BETWEEN 1 AND 256),
    rate_limit               integer CHECK (rate_limit > 0), -- a second; NULL: none
    ordering                 text NOT NULL DEFAULT 'none' CHECK (ordering IN ('none', 'strict')),
    signing_secret           text NOT NULL,
    signing_secret_prev      text,
    signing_secret_prev_until timestamptz,
    created_at               timestamptz NOT NULL DEFAULT now(),
    last_delivered_at        timestamptz,
    enabled_at               timestamptz NOT NULL DEFAULT now(), -- since when failures count
    auto_disabled_at         timestamptz,
    disabled_reason          text,
    deleted_at               timestamptz,
    -- The transaction that changed the row last. Readers ask for everything
    -- from their last snapshot's xmin on, which misses no late committer.
    changed_xid              xid8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (fillfactor = 70);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_changed ON webhooks (changed_xid);

-- +goose StatementBegin
CREATE FUNCTION webhooks_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- last_delivered_at is written by the ledger and concerns no reader's cache.
CREATE TRIGGER webhooks_stamp BEFORE UPDATE OF
    url, description, events, filter_agent_ids, filter_conversation_ids, filter_labels, enabled,
    max_in_flight, rate_limit, ordering, signing_secret, signing_secret_prev, signing_secret_prev_until, deleted_at
    ON webhooks FOR EACH ROW EXECUTE FUNCTION webhooks_stamp();

-- The event log. The envelope is POSTed byte for byte, hence bytea.
CREATE TABLE events (
    id              uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    tenant_id       uuid NOT NULL,
    type            text NOT NULL,
    seq             bigint NOT NULL,           -- the outbox sequence
    agent_id        text,
    conversation_id text,
    labels          text[],
    message_id      text,
    envelope        bytea NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
ALTER TABLE events ALTER COLUMN envelope SET STORAGE EXTERNAL;
CREATE INDEX events_tenant ON events (tenant_id, created_at DESC, id DESC);

-- Which derived event ids exist, by buckets of 30 days: at most one event an
-- idempotency key within 30 days, exact under concurrency.
CREATE TABLE event_keys (
    bucket   integer NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (bucket, event_id)
) PARTITION BY RANGE (bucket);

-- A row means "not fanned out yet". No payload; the event is in events.
CREATE SEQUENCE outbox_seq AS bigint CACHE 1;
CREATE TABLE outbox (
    tenant_id    uuid NOT NULL,
    seq          bigint NOT NULL DEFAULT nextval('outbox_seq'),
    event_id     uuid NOT NULL,
    created_at   timestamptz NOT NULL,         -- the event's
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    publishes    smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, seq)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000000);
CREATE INDEX outbox_lease ON outbox (leased_until, seq);

-- One event for one webhook. created_at is the event's (or the replay's) time,
-- so that the same delivery always lands in the same partition.
CREATE TABLE webhook_subscriber_deliveries (
    id               uuid NOT NULL,
    created_at       timestamptz NOT NULL,
    webhook_id       uuid NOT NULL,
    tenant_id        uuid NOT NULL,
    event_id         uuid NOT NULL,
    event_created_at timestamptz NOT NULL,     -- where the payload lies in events
    next_retry_at    timestamptz,              -- lease, retry, parking: NULL once final
    last_attempt_at  timestamptz,
    finished_at      timestamptz,
    expires_at       timestamptz NOT NULL,
    seq              bigint NOT NULL,          -- the event's outbox sequence
    attempts         smallint NOT NULL DEFAULT 0,
    max_attempts     smallint NOT NULL,
    last_status_code smallint,
    strict           boolean NOT NULL DEFAULT false, -- its webhook is in strict order
    kind             text NOT NULL DEFAULT 'live' CHECK (kind IN ('live', 'test', 'replay')),
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    event_type       text NOT NULL,
    message_id       text,
    replay_id        uuid,
    last_error       text,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
-- What is not finished, by webhook and due time: the sweep's index. Finished
-- rows are not in it, so it is as small as the backlog.
CREATE INDEX webhook_subscriber_deliveries_due ON webhook_subscriber_deliveries (webhook_id, next_retry_at)
    WHERE status = 'pending' AND NOT strict;
-- The same of webhooks in strict order, by the order in which they are sent.
CREATE INDEX webhook_subscriber_deliveries_line ON webhook_subscriber_deliveries (webhook_id, seq, created_at)
    WHERE status = 'pending' AND strict;
-- A webhook's history, newest first.
CREATE INDEX webhook_subscriber_deliveries_history ON webhook_subscriber_deliveries (webhook_id, created_at DESC, id DESC);
-- Deliveries of an event outside its own millisecond: tests and replays.
CREATE INDEX webhook_subscriber_deliveries_again ON webhook_subscriber_deliveries (event_id)
    WHERE kind <> 'live';

-- A row for each failed attempt, and for a success after a failure.
CREATE TABLE webhook_delivery_attempts (
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

-- Raw mail, once for each SMTP transaction, whatever the number of agents.
CREATE TABLE message_raws (
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL,
    raw        bytea NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
ALTER TABLE message_raws ALTER COLUMN raw SET STORAGE EXTERNAL; -- substring() then reads only what it gives

-- One message for each agent addressed.
CREATE TABLE messages (
    id         uuid NOT NULL,
    created_at timestamptz NOT NULL,           -- the event's
    tenant_id  uuid NOT NULL,
    agent_id   text NOT NULL,
    event_id   uuid NOT NULL,
    raw_id     uuid NOT NULL,
    raw_size   bigint NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);

CREATE TABLE idempotency_keys (
    tenant_id    uuid NOT NULL,                -- all zeros: the operator's
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    status       integer,                      -- NULL while the first request runs
    response     bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Which dispatcher owns which partition of deliveries, by lease.
CREATE TABLE dispatchers (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    alive_until timestamptz NOT NULL
);
CREATE TABLE partition_owners (
    partition   smallint PRIMARY KEY,
    owner       uuid,
    epoch       bigint NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO partition_owners (partition) SELECT generate_series(0, 31);

-- +goose StatementBegin
-- Makes the day partitions of the log tables from "from" on, "days" of them,
-- and the buckets of event_keys that they need. Existing ones stay.
CREATE FUNCTION fanmail_make_partitions(from_day date, days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
    day    date;
    made   integer := 0;
    b      integer;
BEGIN
    -- One maker at a time; the others find everything made.
    PERFORM pg_advisory_xact_lock(hashtextextended('fanmail.make_partitions', 0));
    FOREACH parent IN ARRAY ARRAY['events', 'webhook_subscriber_deliveries', 'webhook_delivery_attempts', 'message_raws', 'messages'] LOOP
        FOR day IN SELECT from_day + i FROM generate_series(0, days - 1) AS i LOOP
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            IF to_regclass(child) IS NULL THEN
                -- Made apart and then attached: ATTACH lets reads and writes of
                -- the parent go on, CREATE ... PARTITION OF stops them.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', child, parent);
                IF parent = 'events' THEN
                    -- An envelope of some kilobytes stays in its row: one
                    -- write, not one and a toasted chunk or two.
                    EXECUTE format('ALTER TABLE %I SET (toast_tuple_target = 8160)', child);
                END IF;
                IF parent = 'webhook_subscriber_deliveries' THEN
                    EXECUTE format('ALTER TABLE %I SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05)', child);
                END IF;
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    FOR b IN SELECT DISTINCT floor(extract(epoch FROM (from_day + i)::timestamp) / 2592000)::integer + k
             FROM generate_series(0, days - 1) AS i, generate_series(-1, 1) AS k ORDER BY 1 LOOP
        child := 'event_keys_' || b;
        IF to_regclass(child) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE event_keys INCLUDING DEFAULTS)', child);
            EXECUTE format('ALTER TABLE event_keys ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', child, b, b + 1);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd

SELECT fanmail_make_partitions((now() AT TIME ZONE 'UTC')::date - 1, 9);
