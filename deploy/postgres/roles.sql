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
-- It may be run again; roles that are there stay as they are.
DO $$
DECLARE
    name text;
BEGIN
    -- fanmail_owner migrates, grants and maintains ('fanmail maintain').
    FOREACH name IN ARRAY ARRAY['fanmail_owner', 'fanmail_publisher', 'fanmail_dispatcher', 'fanmail_ingest', 'fanmail_api'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name);
        END IF;
    END LOOP;
END $$;
