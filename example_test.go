package fanmail_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// start starts the servers of an example. A program of yours connects to its own.
func start() (ctx context.Context, kit *fanmailtest.Kit, stop func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	kit, err := fanmailtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return ctx, kit, func() {
		cancel()
		if err := errors.Join(kit.Receiver.Err(), kit.Close()); err != nil {
			log.Fatal(err)
		}
	}
}

// The event is part of the change: both are committed, or neither is.
func ExampleInsert() {
	ctx, kit, stop := start()
	defer stop()
	if _, err := kit.Pool.Exec(ctx, `CREATE TABLE orders (id int PRIMARY KEY)`); err != nil {
		log.Fatal(err)
	}

	order := func(id int) error {
		return pgx.BeginFunc(ctx, kit.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO orders (id) VALUES ($1)`, id); err != nil {
				return err
			}
			_, err := fanmail.Insert(ctx, tx, fanmail.Event{
				TenantID: kit.Tenant.ID, Type: "email.received", Data: json.RawMessage(fmt.Sprintf(`{"order":%d}`, id)),
			})
			return err
		})
	}
	fmt.Println("first:", order(1))
	fmt.Println("again:", order(1) != nil) // the key exists: no order and no event

	events, _, err := kit.Client.ListEvents(ctx, kit.Tenant.ID, fanmail.EventFilter{}, fanmail.Cursor{}, 10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("events:", len(events))
	// Output:
	// first: <nil>
	// again: true
	// events: 1
}

// Run delivers inside the program's own process until its context ends.
func ExampleClient_Run() {
	ctx, kit, stop := start()
	defer stop()
	if _, err := kit.Webhook(ctx, fanmail.Webhook{Events: []fanmail.EventType{"email.received"}}, "/hook"); err != nil {
		log.Fatal(err)
	}
	arrived := make(chan string, 1)
	kit.Receiver.Respond(func(r fanmailtest.Request) int {
		arrived <- string(r.Data)
		return http.StatusOK
	})

	running, shutDown := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- kit.Client.Run(running) }()

	insert(ctx, kit, `{"subject":"hello"}`)
	kit.Client.Wake() // optional: without it the event is noticed within a second
	fmt.Println(<-arrived)

	shutDown()
	fmt.Println("stopped:", <-done)
	// Output:
	// {"subject":"hello"}
	// stopped: <nil>
}

// A receiver needs the exact bytes of the body and the webhook's secret.
func Example_receive() {
	ctx, kit, stop := start()
	defer stop()
	var secret string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := signature.Verify(secret, r.Header, body, time.Now(), 0); err != nil {
			http.Error(w, "not from Fanmail", http.StatusUnauthorized)
			return
		}
		var event struct {
			Type string          `json:"type"`
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "not an event", http.StatusBadRequest)
			return
		}
		// webhook-id is the same on every attempt: use it to drop duplicates.
		fmt.Println(event.Type, string(event.Data), r.Header.Get("webhook-id") != "")
	}))
	defer receiver.Close()

	hook, err := kit.Client.CreateWebhook(ctx, kit.Tenant.ID, fanmail.Webhook{
		URL: receiver.URL, Events: []fanmail.EventType{"email.received"},
	})
	if err != nil {
		log.Fatal(err)
	}
	secret = hook.SigningSecret // shown once: store it

	insert(ctx, kit, `{"subject":"hello"}`)
	if err := kit.Client.Tick(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: email.received {"subject":"hello"} true
}

// In a test, Tick replaces Run. When it returns, everything that was due is sent
// and recorded.
func ExampleClient_Tick() {
	ctx, kit, stop := start()
	defer stop()
	hook, err := kit.Webhook(ctx, fanmail.Webhook{Events: []fanmail.EventType{"email.received"}}, "/")
	if err != nil {
		log.Fatal(err)
	}
	kit.Receiver.Respond(func(r fanmailtest.Request) int {
		if r.Attempt == 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	insert(ctx, kit, `{}`)

	show := func() {
		if err := kit.Client.Tick(ctx); err != nil {
			log.Fatal(err)
		}
		found, _, err := kit.Client.ListDeliveries(ctx, kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 10)
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range found {
			fmt.Println(d.Status, d.Attempts, *d.LastStatusCode)
			if _, err := kit.Client.RetryDelivery(ctx, kit.Tenant.ID, d.ID); err != nil {
				fmt.Println(err)
			}
		}
	}
	show() // the first attempt fails, and the retry is made due at once
	show()
	// Output:
	// pending 1 503
	// delivered 2 200
	// the delivery is delivered; to send its event again, redeliver the event
}

// A replay sends a webhook what it missed, also events from before it existed.
func ExampleClient_CreateReplay() {
	ctx, kit, stop := start()
	defer stop()
	began := time.Now().Add(-time.Minute)
	insert(ctx, kit, `{"n":1}`)
	insert(ctx, kit, `{"n":2}`)
	if err := kit.Client.Tick(ctx); err != nil { // nobody wants them yet
		log.Fatal(err)
	}

	hook, err := kit.Webhook(ctx, fanmail.Webhook{Events: []fanmail.EventType{"email.received"}}, "/late")
	if err != nil {
		log.Fatal(err)
	}
	replay, err := kit.Client.CreateReplay(ctx, kit.Tenant.ID, fanmail.ReplayRequest{
		WebhookID: hook.ID, Since: began, Mode: fanmail.ReplayMissed,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := kit.Client.Tick(ctx); err != nil {
		log.Fatal(err)
	}
	replay, err = kit.Client.GetReplay(ctx, kit.Tenant.ID, replay.ID)
	fmt.Println(replay.State, replay.Matched, replay.Delivered, err)
	fmt.Println(len(kit.Receiver.Requests()))
	// Output:
	// completed 2 2 <nil>
	// 2
}

// A strict webhook gets events in commit order, one at a time. A retry blocks the
// rest.
func ExampleClient_CreateWebhook_strict() {
	ctx, kit, stop := start()
	defer stop()
	_, err := kit.Webhook(ctx, fanmail.Webhook{Events: []fanmail.EventType{"email.received"}, Ordering: fanmail.OrderingStrict}, "/")
	if err != nil {
		log.Fatal(err)
	}
	for n := range 5 {
		insert(ctx, kit, fmt.Sprintf(`{"n":%d}`, n))
	}
	if err := kit.Client.Tick(ctx); err != nil {
		log.Fatal(err)
	}
	for _, r := range kit.Receiver.Requests() {
		fmt.Println(string(r.Data))
	}
	// Output:
	// {"n":0}
	// {"n":1}
	// {"n":2}
	// {"n":3}
	// {"n":4}
}

// insert adds an event of the kit's tenant in a transaction of its own.
func insert(ctx context.Context, kit *fanmailtest.Kit, data string) {
	err := pgx.BeginFunc(ctx, kit.Pool, func(tx pgx.Tx) error {
		_, err := fanmail.Insert(ctx, tx, fanmail.Event{TenantID: kit.Tenant.ID, Type: "email.received", Data: json.RawMessage(data)})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}
