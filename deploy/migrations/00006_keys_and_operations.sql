-- +goose Up
-- Nothing that follows waits long for a busy table: the migration fails
-- instead, changes nothing, and is run again.
SET LOCAL lock_timeout = '10s';

-- Requests a second that a key may make; NULL: what the server allows.
ALTER TABLE api_keys ADD COLUMN rate_limit integer CHECK (rate_limit > 0);

-- An operator's tenant: its webhooks get the operational events of all.
ALTER TABLE tenants ADD COLUMN operator boolean NOT NULL DEFAULT false;
CREATE INDEX tenants_operator ON tenants (id) WHERE operator;

-- Enabled again after it was disabled automatically, and nothing delivered
-- since.
ALTER TABLE webhooks ADD COLUMN recovering boolean NOT NULL DEFAULT false;

-- Facts on their way to becoming operational events: written in the
-- transaction of the fact, taken in the transaction that puts the event into
-- the outbox. One row for each tenant that has a webhook for it.
CREATE TABLE operational_notices (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    tenant_id  uuid NOT NULL,                  -- who is told
    type       text NOT NULL,
    data       jsonb NOT NULL                  -- the event's
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
