-- +goose Up

-- A mail for an agent that has a webhook of its own: one row, sent until it is
-- delivered, its attempts are used up, or its 48 hours are over.
CREATE TABLE webhook_deliveries (
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
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    last_error       text,
    PRIMARY KEY (message_id, created_at)
) PARTITION BY RANGE (created_at);
-- What is not finished, by agent and due time. As small as the backlog.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (agent_id, next_retry_at) WHERE status = 'pending';

-- +goose StatementBegin
-- As before, for every table that is partitioned by created_at.
CREATE OR REPLACE FUNCTION fanmail_make_partitions(from_day date, days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
    day    date;
    made   integer := 0;
    b      integer;
BEGIN
    -- One maker at a time; the others find everything made.
    PERFORM pg_advisory_xact_lock(hashtextextended('fanmail.make_partitions', 0));
    FOR parent IN SELECT c.relname FROM pg_partitioned_table AS p
                  JOIN pg_class AS c ON c.oid = p.partrelid
                  JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                  WHERE a.attname = 'created_at' AND pg_table_is_visible(c.oid) ORDER BY c.relname LOOP
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
                IF parent IN ('webhook_subscriber_deliveries', 'webhook_deliveries') THEN
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
