package importe2a

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// tables are e2a's, each with the columns that every release since v0.4.0 has.
var tables = map[string][]string{
	"users":                         {"id", "email", "created_at"},
	"api_keys":                      {"id", "user_id", "key_hash", "created_at"},
	"agent_identities":              {"id", "user_id", "created_at"},
	"webhooks":                      {"id", "user_id", "url", "events", "signing_secret", "enabled", "created_at"},
	"webhook_events":                {"id", "user_id", "type", "envelope", "status", "created_at"},
	"webhook_subscriber_deliveries": {"id", "webhook_id", "event_type", "event_payload", "status", "attempts", "max_attempts", "next_retry_at", "created_at"},
	"messages":                      {"id", "agent_id", "direction", "created_at"},
}

// agentDeliveries is the table of the agents' own webhooks, which later releases don't have.
const agentDeliveries = "webhook_deliveries"

// ErrNoE2A means that the database holds no tables of e2a v0.4.0 or later.
var ErrNoE2A = errors.New("the database holds no tables of e2a v0.4.0 or later")

// Source is an e2a database. Create one with [Open].
type Source struct {
	pool   *pgxpool.Pool
	schema string
	has    map[string]bool // "table.column"
}

// Open connects to an e2a database and finds its tables. The error does not show the URL.
func Open(ctx context.Context, url secret.Text) (*Source, error) {
	cfg, err := pg.Parse(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.MinConns = 1, 0
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // there may be a connection pooler
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open e2a's database: %w", err)
	}
	s := &Source{pool: pool, has: map[string]bool{}}
	if err := s.find(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the connection.
func (s *Source) Close() { s.pool.Close() }

const columnsOf = `
SELECT n.nspname::text, c.relname::text, a.attname::text FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname <> 'fanmail'
ORDER BY 1, 2, 3`

// find finds the schema that has e2a's tables.
func (s *Source) find(ctx context.Context) error {
	names := []string{agentDeliveries}
	for t := range tables {
		names = append(names, t)
	}
	rows, err := s.pool.Query(ctx, columnsOf, names)
	if err != nil {
		return fmt.Errorf("read e2a's tables: %w", err)
	}
	found := map[string]map[string]bool{}
	var schema, table, column string
	_, err = pgx.ForEachRow(rows, []any{&schema, &table, &column}, func() error {
		if found[schema] == nil {
			found[schema] = map[string]bool{}
		}
		found[schema][table+"."+column] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("read e2a's tables: %w", err)
	}
	var whole []string
	lacks := []string{"every table"}
	for schema, has := range found {
		missing := missingColumns(has)
		if len(missing) == 0 {
			whole = append(whole, schema)
			s.schema, s.has = schema, has
		} else if len(missing) < len(lacks) || lacks[0] == "every table" {
			lacks = missing
		}
	}
	slices.Sort(whole)
	switch {
	case len(whole) == 0:
		return fmt.Errorf("%w: it lacks %s", ErrNoE2A, strings.Join(lacks[:min(len(lacks), 5)], ", "))
	case len(whole) > 1:
		return fmt.Errorf("find e2a's tables: the schemas %s all have them; give a user who sees one alone", strings.Join(whole, ", "))
	}
	return nil
}

func missingColumns(has map[string]bool) (missing []string) {
	for table, columns := range tables {
		for _, c := range columns {
			if !has[table+"."+c] {
				missing = append(missing, table+"."+c)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// release describes the release of e2a by the columns that it has.
func (s *Source) release() string {
	if s.has["agent_identities.webhook_url"] && s.has[agentDeliveries+".message_id"] {
		return "v0.4"
	}
	return "later than v0.4"
}

// from names a table in a statement.
func (s *Source) from(table, alias string) string {
	return pgx.Identifier{s.schema, table}.Sanitize() + " AS " + alias
}

// col is a column in a statement, as a type; NULL if this release of e2a does not have it.
func (s *Source) col(table, alias, column, typ string) string {
	if !s.has[table+"."+column] {
		return "NULL::" + typ
	}
	return alias + "." + column + "::" + typ
}

// text is a column as text; ” for NULL, and if this release does not have it.
func (s *Source) text(table, alias, column string) string {
	return "coalesce(" + s.col(table, alias, column, "text") + ", '')"
}

// envelope is an envelope in a statement, as text. The results of authenticating the sender of a received mail stand in
// e2a's messages, m, too: they are added to an event of the type typ that has none.
func (s *Source) envelope(column, typ string) string {
	const t = "messages"
	if !s.has[t+".auth_headers"] {
		return column + "::text"
	}
	env, headers := column+"::jsonb", s.col(t, "m", "auth_headers", "jsonb")
	data := `(` + env + ` -> 'data')`
	return `CASE WHEN ` + typ + ` = 'email.received' AND jsonb_typeof` + data + ` = 'object' AND NOT ` + data + ` ? 'authentication'
		AND coalesce(` + data + ` -> 'auth_headers', 'null') IN ('null', '{}') AND jsonb_typeof(` + headers + `) = 'object'
		THEN jsonb_set(` + env + `, '{data,auth_headers}', ` + headers + `)::text ELSE ` + column + `::text END`
}

// snapshot runs f in one read-only snapshot of e2a.
func (s *Source) snapshot(ctx context.Context, f func(pgx.Tx) error) error {
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, s.pool, o, func(tx pgx.Tx) error {
		// A cursor is read to its end, and between two pages the transaction waits for the other database.
		for _, set := range []string{"cursor_tuple_fraction = 1", "idle_in_transaction_session_timeout = 0", "statement_timeout = 0"} {
			if _, err := tx.Exec(ctx, "SET LOCAL "+set); err != nil {
				return fmt.Errorf("prepare the reading of e2a: %w", err)
			}
		}
		return f(tx)
	})
}

// literal is a time in a statement. A cursor's statement takes no parameters.
func literal(t time.Time) string {
	return "'" + t.UTC().Format("2006-01-02T15:04:05.000000Z") + "'::timestamptz"
}

// each reads a query through a cursor, and calls page with its rows, size at a time.
func each[T any](ctx context.Context, tx pgx.Tx, name, query string, size int, scan pgx.RowToFunc[T], page func([]T) error) error {
	if _, err := tx.Exec(ctx, "DECLARE "+name+" NO SCROLL CURSOR FOR "+query); err != nil {
		return fmt.Errorf("read e2a's %s: %w", name, err)
	}
	for {
		rows, err := tx.Query(ctx, fmt.Sprintf("FETCH %d FROM %s", size, name))
		if err != nil {
			return fmt.Errorf("read e2a's %s: %w", name, err)
		}
		list, err := collect(name, rows, scan)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			if err := page(list); err != nil {
				return err
			}
		}
		if len(list) < size {
			_, err := tx.Exec(ctx, "CLOSE "+name)
			return err
		}
	}
}

// collect returns the rows of a query. A NULL where a value is needed becomes an error that says how to find its rows:
// e2a writes none, so somebody's statement did.
func collect[T any](table string, rows pgx.Rows, scan pgx.RowToFunc[T]) ([]T, error) {
	list, err := pgx.CollectRows(rows, scan)
	var arg pgx.ScanArgError
	if errors.As(err, &arg) && arg.FieldName != "" && strings.HasPrefix(arg.Err.Error(), "cannot scan NULL") {
		return nil, fmt.Errorf("read e2a's %[1]s: %[2]s is NULL, and the import needs a value; see SELECT * FROM %[1]s WHERE %[2]s IS NULL, "+
			"and set it or delete the rows", table, arg.FieldName)
	}
	if err != nil {
		return nil, fmt.Errorf("read e2a's %s: %w", table, err)
	}
	return list, nil
}

// entry is a row to read: a cursor gives entries, so that it sorts no large values.
type entry struct {
	id   string
	size int64 // about, in bytes
}

func scanEntry(row pgx.CollectableRow) (e entry, err error) {
	err = row.Scan(&e.id, &e.size)
	return e, err
}

const (
	// pageRows and pageBytes bound what is read and written at once.
	pageRows  = 500
	pageBytes = 4 << 20
)

// pages reads entries, and calls page with ids of rows that are together about [pageBytes], at most [pageRows] of them.
func pages(ctx context.Context, tx pgx.Tx, name, query string, page func(ids []string) error) error {
	return each(ctx, tx, name, query, 10*pageRows, scanEntry, func(list []entry) error {
		var ids []string
		var size int64
		for _, e := range list {
			if len(ids) > 0 && (len(ids) == pageRows || size+e.size > pageBytes) {
				if err := page(ids); err != nil {
					return err
				}
				ids, size = nil, 0
			}
			ids, size = append(ids, e.id), size+e.size
		}
		return page(ids)
	})
}
