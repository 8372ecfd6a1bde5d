package pg

import (
	"context"
	"fmt"
)

// Limit is how many connections a role may have at once.
type Limit struct {
	// Connections is the number; 0 means that there is no limit.
	Connections int32
	// Of names what sets the limit, such as "CONNECTION LIMIT of role fan".
	Of string
}

// ConnectionLimit returns the least limit on the connections of the current session's
// role: the role's, the database's, or the server's.
func ConnectionLimit(ctx context.Context, db DB) (Limit, error) {
	var super bool
	var role, database string
	var byRole, byDatabase, byServer int32
	err := db.QueryRow(ctx, `SELECT r.rolsuper, r.rolname, r.rolconnlimit, d.datname, d.datconnlimit,
			current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
				- coalesce(current_setting('reserved_connections', true), '0')::integer
		FROM pg_catalog.pg_roles AS r, pg_catalog.pg_database AS d
		WHERE r.rolname = session_user AND d.datname = current_database()`).Scan(&super, &role, &byRole, &database, &byDatabase, &byServer)
	if err != nil {
		return Limit{}, fmt.Errorf("read the limits on connections: %w", err)
	}
	l := Limit{byServer, "max_connections of the server"}
	if super {
		return l, nil // the other limits don't hold for it
	}
	if byDatabase >= 0 && byDatabase < l.Connections {
		l = Limit{byDatabase, "CONNECTION LIMIT of database " + database}
	}
	if byRole >= 0 && byRole < l.Connections {
		l = Limit{byRole, "CONNECTION LIMIT of role " + role}
	}
	return l, nil
}

// The connections of a pool that serve the agents' own webhooks are another pool's.
const agentsMost = 4

// AgentConns returns how many connections the pool for the agents' own webhooks has
// beside an engine's pool of so many.
func AgentConns(engine int32) int32 { return min(agentsMost, max(1, engine/4)) }

// Share returns the largest engine's pool of at most want connections that a limit has
// room for, with the agents' pool beside it if agents is true. From a limit of four on
// it leaves one connection to `fanmail doctor` and to connections that are replaced. A
// pool has two connections at least, because maintenance holds one while it works.
func (l Limit) Share(want int32, agents bool) int32 {
	if l.Connections <= 0 {
		return want
	}
	room := l.Connections
	if room >= 4 {
		room--
	}
	for n := want; n > 2; n-- {
		all := n
		if agents {
			all += AgentConns(n)
		}
		if all <= room {
			return n
		}
	}
	return min(want, 2)
}
