package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// marker is a parameter of our own in the start of a connection. A session of Postgres has it; a connection pooler drops
// it, or refuses the connection.
const marker = "fanmail.connection"

// PoolerError means that a connection pooler drops the settings that the engine's statements rely on, and that the role
// lacks them.
type PoolerError struct {
	Role, Database string
	// Missing are the settings of [Engine] that sessions lack, sorted.
	Missing []string
}

// Error names the settings and has the statements that set them.
func (e *PoolerError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a connection pooler before Postgres drops settings that Fanmail's statements rely on; set them for the role and reconnect the pooler (RECONNECT in PgBouncer's console):")
	for _, name := range e.Missing {
		fmt.Fprintf(&b, " ALTER ROLE %s IN DATABASE %s SET %s = '%s';",
			pgx.Identifier{e.Role}.Sanitize(), pgx.Identifier{e.Database}.Sanitize(), name, Engine[name])
	}
	return b.String()
}

// Adapt connects once, and adapts a configured pool to a connection pooler such as PgBouncer, in session or transaction
// mode: it sends no parameters at the start of a connection and keeps no prepared statements. The settings of [Engine]
// must then be those of the role; if they are not, it returns a [*PoolerError]. Without a pooler it changes nothing.
func Adapt(ctx context.Context, cfg *pgxpool.Config) error {
	probe := cfg.ConnConfig.Copy()
	if cfg.BeforeConnect != nil {
		if err := cfg.BeforeConnect(ctx, probe); err != nil {
			return err
		}
	}
	probe.RuntimeParams[marker] = "direct"
	conn, err := pgx.ConnectConfig(ctx, probe)
	if refusesParameter(err) {
		probe.RuntimeParams = pooled(probe.RuntimeParams)
		conn, err = pgx.ConnectConfig(ctx, probe)
	}
	if err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	direct, missing, err := sessionSettings(ctx, conn)
	if err != nil || direct {
		return err
	}
	if len(missing) > 0 {
		return &PoolerError{Role: probe.User, Database: probe.Database, Missing: missing}
	}
	cfg.ConnConfig.RuntimeParams = pooled(cfg.ConnConfig.RuntimeParams)
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	return nil
}

// sessionSettings says whether a session has the [marker], and which settings of [Engine] it lacks.
func sessionSettings(ctx context.Context, conn *pgx.Conn) (direct bool, missing []string, err error) {
	names := slices.Sorted(maps.Keys(Engine))
	rows, err := conn.Query(ctx, `SELECT name, coalesce(current_setting(name, true), '') FROM unnest($1::text[]) AS name`,
		pgx.QueryExecModeExec, append(names, marker))
	if err != nil {
		return false, nil, fmt.Errorf("read the session's settings: %w", err)
	}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		switch {
		case name == marker:
			direct = value == "direct"
		case slices.Contains(ownNames, name):
		case strings.HasSuffix(name, "_timeout") && value != "0": // another bound is as good
		case value != Engine[name]:
			missing = append(missing, name)
		}
		return nil
	})
	if err != nil {
		return false, nil, fmt.Errorf("read the session's settings: %w", err)
	}
	return direct, missing, nil
}

// ownNames are the settings of [Engine] that no statement relies on.
var ownNames = []string{"application_name", "client_min_messages"}

// pooled returns the parameters that a pooler passes on: those that are none of the engine's.
func pooled(params map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range params {
		if _, ours := Engine[name]; name == "application_name" || !ours && name != marker {
			out[name] = value
		}
	}
	return out
}

// refusesParameter reports whether a pooler refused a connection for a parameter in its start.
func refusesParameter(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == "08P01" && strings.Contains(answer.Message, "parameter")
}
