-- What the role of each process may do. It begins by taking everything away, so
-- that it says the whole truth. Rights on a partitioned table hold for its
-- partitions; no role but the owner gets at a partition by its own name.
-- `fanmail migrate --grants` runs it, in one transaction.

REVOKE ALL ON ALL TABLES IN SCHEMA fanmail FROM PUBLIC, fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA fanmail FROM PUBLIC, fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;
REVOKE ALL ON FUNCTION fanmail.make_partitions(date, integer), fanmail.insert_operational_events(uuid[], uuid[], text[], bytea[], bytea[])
    FROM PUBLIC, fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;

GRANT USAGE ON SCHEMA fanmail TO fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;

-- Everybody looks whether the schema fits the binary.
GRANT SELECT ON fanmail.goose_db_version TO fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;

-- Everybody says how it stands, and forgets those that are gone.
GRANT SELECT, INSERT, UPDATE, DELETE ON fanmail.processes TO fanmail_publisher, fanmail_dispatcher, fanmail_ingest, fanmail_api;

-- publisher: reads events and leases the outbox. No webhook, no secret, no mail.
GRANT SELECT ON fanmail.events TO fanmail_publisher;
GRANT SELECT, UPDATE (leased_until, publishes) ON fanmail.outbox TO fanmail_publisher;

-- dispatcher: takes the outbox, owns deliveries, reads what it signs with, and the
-- mail for agents with a URL of their own. No API key.
GRANT SELECT ON fanmail.events, fanmail.webhooks, fanmail.secret_keys, fanmail.tenants, fanmail.strict_tenants TO fanmail_dispatcher;
GRANT SELECT, DELETE, UPDATE (leased_until, publishes) ON fanmail.outbox TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE ON fanmail.webhook_subscriber_deliveries TO fanmail_dispatcher;
GRANT SELECT, INSERT ON fanmail.webhook_delivery_attempts TO fanmail_dispatcher;
GRANT UPDATE (enabled, last_delivered_at, auto_disabled_at, disabled_reason, recovering,
    previous_secrets, previous_until) ON fanmail.webhooks TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON fanmail.dispatchers TO fanmail_dispatcher;
GRANT SELECT, UPDATE ON fanmail.partition_owners TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON fanmail.alert_mails TO fanmail_dispatcher;
-- It inserts operational events, and no others. To lock a row takes the right to update it.
GRANT SELECT, INSERT, DELETE, UPDATE (data) ON fanmail.operational_events TO fanmail_dispatcher;
GRANT EXECUTE ON FUNCTION fanmail.insert_operational_events(uuid[], uuid[], text[], bytea[], bytea[]) TO fanmail_dispatcher;
GRANT SELECT ON SEQUENCE fanmail.outbox_seq TO fanmail_dispatcher;
GRANT SELECT ON fanmail.agents, fanmail.messages, fanmail.message_raws TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE ON fanmail.webhook_deliveries TO fanmail_dispatcher;
GRANT SELECT, UPDATE, DELETE ON fanmail.replays TO fanmail_dispatcher;
GRANT SELECT, INSERT, UPDATE ON fanmail.tenant_usage TO fanmail_dispatcher; -- it counts the events of programs' own transactions
GRANT SELECT, INSERT, UPDATE, DELETE ON fanmail.replay_deliveries TO fanmail_dispatcher;

-- It removes what was erased from the streams and the blob store. The owner removes the rows.
GRANT SELECT, UPDATE ON fanmail.erasures TO fanmail_dispatcher;
GRANT SELECT, UPDATE (kind) ON fanmail.erased_items TO fanmail_dispatcher; -- it searches raw mails

-- ingest: finds agents, puts mail and events in. No webhook, no delivery.
GRANT SELECT ON fanmail.agents, fanmail.released_names, fanmail.tenants, fanmail.strict_tenants, fanmail.closed_tenants, fanmail.event_types TO fanmail_ingest;
GRANT SELECT (name, verified_at) ON fanmail.domains TO fanmail_ingest; -- whose mail to postmaster it takes
GRANT SELECT, INSERT ON fanmail.events, fanmail.event_keys, fanmail.outbox, fanmail.messages, fanmail.message_raws, fanmail.conversation_keys TO fanmail_ingest;
GRANT SELECT, INSERT ON fanmail.webhook_deliveries TO fanmail_ingest;
GRANT USAGE ON SEQUENCE fanmail.outbox_seq TO fanmail_ingest;
GRANT SELECT ON fanmail.tenant_quotas TO fanmail_ingest;
GRANT SELECT, INSERT, UPDATE ON fanmail.tenant_usage TO fanmail_ingest;

-- api: what tenants and the operator may ask for. The audit log grows and never changes.
GRANT SELECT, INSERT ON fanmail.audit_log TO fanmail_api;
GRANT SELECT, INSERT, UPDATE ON fanmail.tenant_quotas, fanmail.tenant_usage TO fanmail_api;
GRANT SELECT, INSERT, UPDATE ON fanmail.tenants, fanmail.api_keys, fanmail.portal_links, fanmail.webhooks, fanmail.webhook_subscriber_deliveries, fanmail.replays TO fanmail_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON fanmail.agents, fanmail.domains, fanmail.released_names, fanmail.event_types, fanmail.idempotency_keys,
    fanmail.console_sessions, fanmail.console_links TO fanmail_api;
GRANT SELECT, INSERT ON fanmail.events, fanmail.event_keys, fanmail.outbox, fanmail.strict_tenants TO fanmail_api;
GRANT SELECT, INSERT, DELETE ON fanmail.closed_tenants TO fanmail_api; -- it deletes tenants, and restores them
GRANT SELECT, INSERT, UPDATE (phase, due_at, finished_at) ON fanmail.erasures TO fanmail_api;
-- It seals secrets. To lock a row takes the right to update it.
GRANT SELECT, INSERT, UPDATE (proof) ON fanmail.secret_keys TO fanmail_api;
GRANT SELECT ON fanmail.messages, fanmail.message_raws, fanmail.webhook_delivery_attempts, fanmail.replay_deliveries TO fanmail_api;
-- It records the outcomes that consumers of webhooks to be polled report.
GRANT INSERT ON fanmail.webhook_delivery_attempts, fanmail.operational_events TO fanmail_api;
GRANT SELECT, UPDATE ON fanmail.webhook_deliveries TO fanmail_api; -- a retry makes one due
GRANT SELECT ON fanmail.dispatchers, fanmail.partition_owners TO fanmail_api; -- operators see who works
GRANT USAGE ON SEQUENCE fanmail.outbox_seq TO fanmail_api;

-- imports and imported_rows: nobody but the owner, who runs `fanmail import`.
