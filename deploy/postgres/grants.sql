-- What the role of each process may do. It begins by taking everything away, so
-- that it says the whole truth. Rights on a partitioned table hold for its
-- partitions; no role but the owner gets at a partition by its own name.
-- `fanmail migrate --grants` runs it, in one transaction.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;
REVOKE ALL ON FUNCTION fanmail_make_partitions(date, integer) FROM PUBLIC;

-- Everybody looks whether the schema fits the binary.
GRANT SELECT ON goose_db_version TO fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;

-- publisher: reads events and leases the outbox. No webhook, no secret, no mail.
GRANT SELECT ON events TO fanmail_publisher;
GRANT SELECT, UPDATE (leased_until, publishes) ON outbox TO fanmail_publisher;

-- dispatcher: takes the outbox, owns deliveries, reads what it signs with, and the
-- mail for agents with a URL of their own. No API key.
GRANT SELECT ON events, webhooks, tenants TO fanmail_dispatcher;
GRANT SELECT, DELETE, UPDATE (leased_until) ON outbox TO fanmail_dispatcher; -- to lock a row is to update it
GRANT SELECT, INSERT, UPDATE ON webhook_subscriber_deliveries TO fanmail_dispatcher;
GRANT SELECT, INSERT ON webhook_delivery_attempts TO fanmail_dispatcher;
GRANT UPDATE (enabled, last_delivered_at, auto_disabled_at, disabled_reason, recovering,
    signing_secret_prev, signing_secret_prev_until) ON webhooks TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON dispatchers TO fanmail_dispatcher;
GRANT SELECT, UPDATE ON partition_owners TO fanmail_dispatcher;
-- It turns notices into operational events of its own, and locks a row by the
-- right to update it.
GRANT SELECT, INSERT, DELETE, UPDATE (data) ON operational_notices TO fanmail_dispatcher;
GRANT INSERT ON events, outbox TO fanmail_dispatcher;
GRANT SELECT, INSERT ON event_keys TO fanmail_dispatcher;
GRANT USAGE ON SEQUENCE outbox_seq TO fanmail_dispatcher;
GRANT SELECT ON agents, messages, message_raws TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE ON webhook_deliveries TO fanmail_dispatcher;
GRANT SELECT, UPDATE, DELETE ON replays TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON replay_deliveries TO fanmail_dispatcher;

-- ingest: finds agents, puts mail and events in. No webhook, no delivery.
GRANT SELECT ON agents, tenants TO fanmail_ingest;
GRANT SELECT, INSERT ON events, event_keys, outbox, messages, message_raws, conversation_keys TO fanmail_ingest;
GRANT SELECT, INSERT ON webhook_deliveries TO fanmail_ingest;
GRANT USAGE ON SEQUENCE outbox_seq TO fanmail_ingest;

-- api: what tenants and the operator may ask for.
GRANT SELECT, INSERT, UPDATE ON tenants, api_keys, webhooks, webhook_subscriber_deliveries, replays TO fanmail_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON agents, idempotency_keys TO fanmail_api;
GRANT SELECT, INSERT ON events, event_keys, outbox TO fanmail_api;
GRANT SELECT ON messages, message_raws, webhook_delivery_attempts, replay_deliveries TO fanmail_api;
GRANT USAGE ON SEQUENCE outbox_seq TO fanmail_api;
