package health

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Process is how a process stood at its last beat.
type Process struct {
	ID [16]byte `json:"-"`
	// Kind is publisher, dispatcher, ingest, api or up.
	Kind string `json:"kind"`
	// Name is the name of the replica, for people.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Components are those of the process. [Overall] says how it stands.
	Components []State `json:"components"`
	// SecretKeys are the ids of the keys with which the process opens secrets.
	SecretKeys []string `json:"-"`
	// Started and Seen are times of the database. [Beat] ignores them.
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	// Age is the time since Seen, by the database's clock. [Beat] ignores it.
	Age time.Duration `json:"-"`
}

// BeatEvery is the time between two beats of a process.
const BeatEvery = 5 * time.Second

// Gone is the age of a last beat at which a process counts as gone.
const Gone = 6 * BeatEvery

// Beat writes how a process stands. Its success shows that the process can write. It
// forgets processes that have been gone for a day.
func Beat(ctx context.Context, db pg.DB, p *Process) error {
	components, err := json.Marshal(p.Components)
	if err != nil {
		return fmt.Errorf("encode the components: %w", err)
	}
	_, err = db.Exec(ctx, `WITH gone AS (DELETE FROM fanmail.processes WHERE seen < now() - interval '1 day' AND id <> $1)
		INSERT INTO fanmail.processes (id, kind, name, version, components, secret_keys) VALUES ($1, $2, $3, $4, $5, coalesce($6::text[], '{}'))
		ON CONFLICT (id) DO UPDATE SET seen = now(), components = EXCLUDED.components, secret_keys = EXCLUDED.secret_keys`,
		p.ID, p.Kind, p.Name, p.Version, components, p.SecretKeys)
	if err != nil {
		return fmt.Errorf("write the state of the process: %w", err)
	}
	return nil
}

// End forgets a process that stops.
func End(ctx context.Context, db pg.DB, id [16]byte) error {
	_, err := db.Exec(ctx, `DELETE FROM fanmail.processes WHERE id = $1`, id)
	return err
}

// Processes returns how each process stood at its last beat, by kind and name.
func Processes(ctx context.Context, db pg.DB) ([]Process, error) {
	rows, err := db.Query(ctx, `SELECT id, kind, name, version, components, secret_keys, started, seen, extract(epoch FROM clock_timestamp() - seen)::float8
		FROM fanmail.processes ORDER BY kind, name, started LIMIT 1000`)
	if err != nil {
		return nil, fmt.Errorf("read the states of the processes: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Process, err error) {
		var seconds float64
		err = row.Scan(&p.ID, &p.Kind, &p.Name, &p.Version, &p.Components, &p.SecretKeys, &p.Started, &p.Seen, &seconds)
		p.Age = time.Duration(seconds * float64(time.Second))
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the states of the processes: %w", err)
	}
	return list, nil
}

// TryWrite makes the write of [Beat] and rolls it back.
func TryWrite(ctx context.Context, db pg.TxDB) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	p := &Process{Kind: "doctor", Components: []State{}}
	_, _ = rand.Read(p.ID[:])
	return Beat(ctx, tx, p)
}
