-- +goose Up
SET LOCAL lock_timeout = '10s';

-- Which conversation the mails belong to that accepted mails are, or name, by
-- buckets of 30 days. A row never changes; one that is used again is written
-- to the present bucket too. The release before neither reads nor writes it:
-- what it accepts meanwhile is placed by its header alone, as before.
CREATE TABLE conversation_keys (
    bucket       integer NOT NULL,
    tenant_id    uuid NOT NULL,
    mail         uuid NOT NULL,                -- hash of tenant and Message-ID
    conversation uuid NOT NULL,                -- conv_ and these 32 digits
    PRIMARY KEY (tenant_id, mail, bucket)
) PARTITION BY RANGE (bucket);

-- +goose StatementBegin
-- As it was, and makes the buckets of every table that is partitioned by its
-- column bucket.
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
    FOR parent IN SELECT c.relname FROM pg_partitioned_table AS p
                  JOIN pg_class AS c ON c.oid = p.partrelid
                  JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                  WHERE a.attname = 'bucket' AND pg_table_is_visible(c.oid) ORDER BY c.relname LOOP
        FOR b IN SELECT DISTINCT floor(extract(epoch FROM (from_day + i)::timestamp) / 2592000)::integer + k
                 FROM generate_series(0, days - 1) AS i, generate_series(-1, 1) AS k ORDER BY 1 LOOP
            child := parent || '_' || b;
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', child, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, b, b + 1);
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd

SELECT fanmail_make_partitions((now() AT TIME ZONE 'UTC')::date - 1, 9);
