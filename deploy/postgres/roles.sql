-- The roles of Fanmail's processes. Run it once for a server, as somebody who may
-- make roles, and give each role a password or a certificate of your own:
--
--   ALTER ROLE fanmail_publisher PASSWORD '…';
--
-- Then give the database to its owner:
--
--   ALTER DATABASE fanmail OWNER TO fanmail_owner;
--
-- What each may do comes from `fanmail migrate --grants`, run as fanmail_owner.
-- It may be run again; roles that are there keep their passwords and rights.
--
-- The settings are those that Fanmail's statements rely on. A direct connection
-- sends them itself. A connection pooler, such as PgBouncer, drops them, and the
-- sessions that it opens get them from the role.
DO $$
DECLARE
    name text;
    setting text;
BEGIN
    -- fanmail_owner migrates, grants and maintains ('fanmail maintain').
    FOREACH name IN ARRAY ARRAY['fanmail_owner', 'fanmail_publisher', 'fanmail_dispatcher', 'fanmail_ingest', 'fanmail_api'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name);
        END IF;
        FOREACH setting IN ARRAY ARRAY['enable_hashjoin = off', 'enable_mergejoin = off', 'enable_seqscan = off', 'enable_bitmapscan = off',
                'plan_cache_mode = force_generic_plan', 'jit = off', 'statement_timeout = 60s', 'lock_timeout = 20s'] LOOP
            EXECUTE format('ALTER ROLE %I SET %s = %L', name, split_part(setting, ' = ', 1), split_part(setting, ' = ', 2));
        END LOOP;
    END LOOP;
END $$;
