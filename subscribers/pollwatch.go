package subscribers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

const (
	// pollAgain is how often the [watch] looks, and pollAlone the same without a broker.
	pollAgain = 5 * time.Second
	pollAlone = 200 * time.Millisecond
	// watchChunk bounds the webhooks of one statement.
	watchChunk = 1000
)

// dueOfPolled is in how many seconds the next delivery of polled webhooks is due, of those that have a pending one. It is 0
// for a webhook that can't be polled any more: the poll itself says why.
const dueOfPolled = `
SELECT w.id, coalesce(date_part('epoch', d.next_retry_at - clock_timestamp()), 0)
FROM unnest($1::uuid[]) AS v (id)
JOIN fanmail.webhooks AS w ON w.id = v.id
LEFT JOIN LATERAL (
	SELECT CASE WHEN w.ordering = 'strict'
		THEN (SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = w.id AND status = 'pending' AND strict ORDER BY seq, created_at LIMIT 1)
		ELSE (SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries WHERE webhook_id = w.id AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT 1)
	END AS next_retry_at) AS d ON w.enabled AND w.deleted_at IS NULL
WHERE d.next_retry_at IS NOT NULL OR NOT w.enabled OR w.deleted_at IS NOT NULL`

// watch looks for what is due to all polls of a process that wait, with one statement for all of them. Hints bring the news;
// this is for hints that are lost, and for deliveries that become due by their time. It runs while a poll waits.
type watch struct {
	db pg.TxDB

	mu    sync.Mutex
	hooks map[events.WebhookID]map[chan<- struct{}]bool
	alone int // polls without a broker
	stop  context.CancelFunc
}

// join has told signalled when a poll of a webhook should look. It ends with leave.
func (w *watch) join(id events.WebhookID, told chan<- struct{}, alone bool) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hooks == nil {
		w.hooks = make(map[events.WebhookID]map[chan<- struct{}]bool)
	}
	if w.hooks[id] == nil {
		w.hooks[id] = make(map[chan<- struct{}]bool)
	}
	w.hooks[id][told] = true
	if alone {
		w.alone++
	}
	if w.stop == nil {
		ctx, stop := context.WithCancel(context.Background()) // it serves more polls than this one
		w.stop = stop
		go w.run(ctx)
	}
	return func() { w.leave(id, told, alone) }
}

func (w *watch) leave(id events.WebhookID, told chan<- struct{}, alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if alone {
		w.alone--
	}
	delete(w.hooks[id], told)
	if len(w.hooks[id]) == 0 {
		delete(w.hooks, id)
	}
	if len(w.hooks) == 0 {
		w.stop()
		w.stop = nil
	}
}

func (w *watch) run(ctx context.Context) {
	for {
		ids, every := w.waiting()
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		// Polls that joined since then have looked themselves.
		for part := range slices.Chunk(ids, watchChunk) {
			_ = w.look(ctx, part, every) // it is repeated; without a database the next poll fails
		}
	}
}

// waiting returns the webhooks with a poll that waits, and how often to look.
func (w *watch) waiting() ([]events.WebhookID, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]events.WebhookID, 0, len(w.hooks))
	for id := range w.hooks {
		ids = append(ids, id)
	}
	if w.alone > 0 {
		return ids, pollAlone
	}
	return ids, pollAgain
}

// look signals the polls of webhooks with a delivery that is due now, or before the next look.
func (w *watch) look(ctx context.Context, ids []events.WebhookID, every time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, pollAgain)
	defer cancel()
	rows, err := w.db.Query(ctx, dueOfPolled, ids)
	if err != nil {
		return fmt.Errorf("look for deliveries to poll: %w", err)
	}
	var id events.WebhookID
	var seconds float64
	_, err = pgx.ForEachRow(rows, []any{&id, &seconds}, func() error {
		if in := time.Duration(seconds * float64(time.Second)); in < every {
			of := id
			time.AfterFunc(in, func() { w.tell(of) })
		}
		return nil
	})
	return err
}

func (w *watch) tell(id events.WebhookID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for told := range w.hooks[id] {
		signal(told)
	}
}

// signal signals a poll; one signal stands for all.
func signal(told chan<- struct{}) {
	select {
	case told <- struct{}{}:
	default:
	}
}
