package migrations

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/setting"
)

// Schema says how a database's schema and this build stand to each other.
type Schema struct {
	// Have is the newest migration that the database has; 0 where there is none.
	Have int64
	// Want is the newest migration that this build knows.
	Want int64
	// Oldest is the lowest Want of a build that may run on the schema: 0
	// unless a migration has said so.
	Oldest int64
}

// oldest is how a migration shuts out the builds that it would break, by
//
//	COMMENT ON TABLE fanmail.goose_db_version IS 'oldest version that may run: 12';
//
// for those that know migration 12 or a later one. It is a comment since that
// needs no right to read and is in every dump.
var oldest = regexp.MustCompile(`oldest version that may run: (\d+)`)

// Read looks a database's schema up over a connection or a pool.
func Read(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (Schema, error) {
	want, err := Version()
	if err != nil {
		return Schema{}, err
	}
	s := Schema{Want: want}
	var comment *string
	err = db.QueryRow(ctx, `SELECT obj_description(to_regclass('fanmail.goose_db_version'), 'pg_class') WHERE to_regclass('fanmail.goose_db_version') IS NOT NULL`).Scan(&comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	if err == nil {
		err = db.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM fanmail.goose_db_version WHERE is_applied`).Scan(&s.Have)
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	if comment != nil {
		if said := oldest.FindStringSubmatch(*comment); said != nil {
			if s.Oldest, err = strconv.ParseInt(said[1], 10, 64); err != nil {
				return Schema{}, fmt.Errorf("read the oldest version that may run on the schema: %w", err)
			}
		}
	}
	return s, nil
}

// Newer says that the database was migrated by a later release.
func (s Schema) Newer() bool { return s.Have > s.Want }

func (s Schema) shutOut() bool { return s.Want < s.Oldest }

// Check returns a [*SchemaError] where this build must not run on the schema:
// one that lacks a migration, or a newer one that shuts this build out.
func (s Schema) Check() error {
	if s.Have < s.Want || s.shutOut() {
		return &SchemaError{s}
	}
	return nil
}

// SchemaError says that the database's schema does not fit the binary.
type SchemaError struct{ Schema }

// Error says what to do.
func (e *SchemaError) Error() string {
	if e.shutOut() {
		return fmt.Sprintf("the database has schema version %d, on which only binaries of version %d or later may run, and this one is of version %d: run a newer Fanmail against it", e.Have, e.Oldest, e.Want)
	}
	return fmt.Sprintf("the database has schema version %d, this binary needs %d: %s", e.Have, e.Want, setting.Named("run `fanmail migrate`, or set FANMAIL_MIGRATE=true"))
}
