package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanmailtest"
	"github.com/fanmail-dev/fanmail/outbox"
)

// open starts a database for an example. A program of yours connects to its own and
// uses its own tenant.
func open() (ctx context.Context, pool *pgxpool.Pool, tenant events.TenantID, stop func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	kit, err := fanmailtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return ctx, kit.Pool, kit.Tenant.ID, func() {
		cancel()
		if err := kit.Close(); err != nil {
			log.Fatal(err)
		}
	}
}

// The order and its event are written in one transaction: both exist, or neither.
func ExampleInsert() {
	ctx, pool, tenant, stop := open()
	defer stop()
	if _, err := pool.Exec(ctx, `CREATE TABLE orders (id int PRIMARY KEY)`); err != nil {
		log.Fatal(err)
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `INSERT INTO orders (id) VALUES (1)`); err != nil {
		log.Fatal(err)
	}
	_, err = outbox.Insert(ctx, tx, events.Event{
		TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{"order":1}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	n, _, err := outbox.Waiting(ctx, pool, tenant)
	fmt.Println("before the commit:", n, err)
	if err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	n, _, err = outbox.Waiting(ctx, pool, tenant)
	fmt.Println("after the commit:", n, err)
	// Output:
	// before the commit: 0 <nil>
	// after the commit: 1 <nil>
}

// With an idempotency key a program may insert an event again, for example after a
// commit whose result it did not learn.
func ExampleInsertMany_idempotency() {
	ctx, pool, tenant, stop := open()
	defer stop()
	for range 2 {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			done, err := outbox.InsertMany(ctx, tx, []events.Event{{
				TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{}`), IdempotencyKey: "order-1",
			}})
			if err == nil {
				fmt.Println("new:", done[0].New)
			}
			return err
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// new: true
	// new: false
}

// An event that is not valid is refused before anything is written.
func ExampleInsert_invalid() {
	ctx, pool, tenant, stop := open()
	defer stop()
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := outbox.Insert(ctx, tx, events.Event{TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`[]`)})
		return err
	})
	var bad *events.FieldError
	fmt.Println(errors.As(err, &bad), bad.Field)
	// Output: true data
}
