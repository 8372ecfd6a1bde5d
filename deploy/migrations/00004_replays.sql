-- +goose Up

-- Past events on their way to webhooks again, on somebody's request. A row is
-- what was asked for, how far it is, and who is at it. Nothing of the release
-- before reads or writes these two tables.
CREATE TABLE replays (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenants (id),
    webhook_id     uuid,                        -- NULL: every enabled webhook of the tenant
    mode           text NOT NULL CHECK (mode IN ('missed', 'all')),
    types          text[] NOT NULL DEFAULT '{}',
    agent_ids      text[] NOT NULL DEFAULT '{}',
    since          timestamptz NOT NULL,        -- the events' creation times, until excluded
    until          timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(), -- and its deliveries'
    state          text NOT NULL DEFAULT 'queued'
                   CHECK (state IN ('queued', 'running', 'cancelling', 'cancelled', 'completed')),
    -- Where reading is: 'before' the seam in the table, in the 'stream' from it
    -- on, the 'check' that the stream had all, 'after' it in the table otherwise.
    phase          text NOT NULL DEFAULT 'gate'
                   CHECK (phase IN ('gate', 'before', 'stream', 'check', 'after', 'read')),
    seam           timestamptz,
    at_time        timestamptz,                 -- the last event read from the table
    at_id          uuid,
    at_seq         bigint NOT NULL DEFAULT 0,   -- the last message read from the stream
    end_seq        bigint NOT NULL DEFAULT 0,   -- and the last one to read
    seen           bigint NOT NULL DEFAULT 0,   -- events of the window that the stream had
    from_stream    boolean NOT NULL DEFAULT false,
    from_table     boolean NOT NULL DEFAULT false,
    matched        bigint NOT NULL DEFAULT 0,
    matched_before bigint NOT NULL DEFAULT 0,   -- of them, before the seam
    enqueued       bigint NOT NULL DEFAULT 0,
    delivered      bigint NOT NULL DEFAULT 0,
    failed         bigint NOT NULL DEFAULT 0,
    runner         uuid,                        -- a claim; the fence of all that it writes
    leased_until   timestamptz NOT NULL DEFAULT '-infinity',
    due_at         timestamptz NOT NULL DEFAULT now(), -- when it is looked at next
    moved_at       timestamptz NOT NULL DEFAULT now(), -- when it last got on
    finished_at    timestamptz
) WITH (fillfactor = 50);
CREATE INDEX replays_tenant ON replays (tenant_id, created_at DESC, id DESC);
CREATE INDEX replays_due ON replays (due_at) WHERE finished_at IS NULL;

-- What a replay has found and not finished: at most some thousands for each
-- webhook. A row goes when its delivery is final.
CREATE TABLE replay_deliveries (
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
CREATE INDEX replay_deliveries_line ON replay_deliveries (replay_id, state, webhook_id, seq);
