package devserver

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"go.uber.org/zap"
)

// Follow copies the server into o.Dir, which must not hold one yet, and starts the copy as its streaming standby. name is
// its application_name, by which the primary knows it. Promote it with the SQL function pg_promote.
func (p *Postgres) Follow(ctx context.Context, o PostgresOptions, name string) (*Postgres, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	c, err := findCluster(ctx, o.Dir, o.Log)
	if err != nil {
		return nil, err
	}
	err = c.run(ctx, "pg_basebackup", "-h", "127.0.0.1", "-p", strconv.Itoa(p.Port), "-U", "fanmail", "-D", c.dir,
		"-X", "stream", "-c", "fast", "-R", "--no-sync")
	if err != nil {
		return nil, fmt.Errorf("copy Postgres: %w", err)
	}
	o.Settings = maps.Clone(o.Settings)
	if o.Settings == nil {
		o.Settings = map[string]string{}
	}
	o.Settings["primary_conninfo"] = fmt.Sprintf("host=127.0.0.1 port=%d user=fanmail application_name=%s", p.Port, name)
	return StartPostgres(ctx, o)
}
