package pg

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// Engine holds the Postgres settings of the engine's connections.
//
// They don't reach an EXISTS of outer columns in a select list, a CASE or an OR. Postgres 18 may answer it from a hash table
// that it makes of the whole inner table, even by a sequential scan. Such an EXISTS ends with OFFSET 0, which rules that out.
var Engine = map[string]string{
	"enable_hashjoin":     "off",
	"enable_mergejoin":    "off",
	"enable_seqscan":      "off",
	"enable_bitmapscan":   "off",
	"plan_cache_mode":     "force_generic_plan",
	"jit":                 "off",
	"statement_timeout":   "60s",
	"lock_timeout":        "20s",
	"application_name":    "fanmail",
	"client_min_messages": "error",
}

// passedOn are the server parameters that a connection string may set besides
// those of [Engine]. Another name may be a part of a password with a space.
var passedOn = []string{
	"options", "search_path", "role", "timezone", "datestyle", "client_encoding",
	"idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout",
	"default_transaction_isolation", "default_transaction_read_only", "synchronous_commit", "work_mem",
}

var errConnString = errors.New("is not a Postgres connection string, such as postgres://user:password@host:5432/fanmail?sslmode=require or host=… user=… password='…': " +
	"its text is not shown, because it may contain a password; put a value with spaces into single quotes")

// Parse parses a connection string, a URL or keywords and values. It refuses a
// string of which a part of the password may have become another value. Of several hosts
// it means the one that takes writes, unless the string sets target_session_attrs. A connection
// ends within a minute if its peer is gone; see endSilence. The error
// contains neither the string nor a part of it, except the path of a file that
// cannot be read.
func Parse(text secret.Text) (*pgxpool.Config, error) {
	source := strings.TrimSpace(text.Reveal())
	if strings.HasPrefix(source, "postgres:") || strings.HasPrefix(source, "postgresql:") {
		if _, err := secret.Text(source).URL("postgres", "postgresql"); err != nil {
			return nil, err
		}
	}
	cfg, err := pgxpool.ParseConfig(source)
	if err != nil {
		var file *fs.PathError
		if errors.As(err, &file) {
			return nil, fmt.Errorf("names a file that cannot be read: %w", file)
		}
		return nil, errConnString
	}
	for name := range cfg.ConnConfig.RuntimeParams {
		if _, known := Engine[name]; !known && !slices.Contains(passedOn, name) {
			return nil, errors.New("sets a parameter that is not passed on (its name is not shown, because it may be a part of a password): " +
				"set it with ALTER ROLE or ALTER DATABASE, and put a password with spaces into single quotes")
		}
	}
	for _, value := range []string{cfg.ConnConfig.User, cfg.ConnConfig.Database, cfg.ConnConfig.Host} {
		if strings.Contains(value, "@") {
			return nil, errors.New("has an @ in user name, host or database: percent-encode the @ of a password as %40")
		}
	}
	preferPrimary(cfg, source)
	endSilence(cfg)
	return cfg, nil
}
