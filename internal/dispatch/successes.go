package dispatch

import (
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// touchEvery bounds how often a webhook's last_delivered_at is written.
	touchEvery = 5 * time.Second
	// touchedWebhooks is how many webhooks are remembered for that.
	touchedWebhooks = 50_000
	// catchUpEvery is how often successes are written that were not written with
	// their outcome, because another one was shortly before.
	catchUpEvery = time.Second
	// catchUpTimeout bounds the writing.
	catchUpTimeout = 5 * time.Second
)

// successes are the times of successes that last_delivered_at needs. Only the outcome
// writer's goroutine uses them.
type successes struct {
	touched map[events.WebhookID]time.Time // the last ones that were written
	owed    map[events.WebhookID]time.Time // later ones that were not
	looked  time.Time                      // when the owed ones were last looked through
}

func newSuccesses() successes {
	return successes{touched: make(map[events.WebhookID]time.Time), owed: make(map[events.WebhookID]time.Time)}
}

// touch notes a success and reports whether it is to be written now. A success within
// [touchEvery] of the one that was written is owed.
func (s *successes) touch(id events.WebhookID, now time.Time) bool {
	switch since := now.Sub(s.touched[id]); {
	case since == 0: // it is of the same batch
		return false
	case since < touchEvery:
		s.owed[id] = now
		return false
	}
	if len(s.touched) >= touchedWebhooks {
		clear(s.touched)
	}
	s.touched[id] = now
	delete(s.owed, id)
	return true
}

// due fires when it is time to look for owed ones; nil if there are none.
func (s *successes) due() <-chan time.Time {
	if len(s.owed) == 0 {
		return nil
	}
	return time.After(catchUpEvery)
}

func (s *successes) overdue() bool {
	return len(s.owed) > 0 && time.Since(s.looked) >= catchUpEvery
}

// take removes the owed successes of webhooks that were not written for so long.
func (s *successes) take(since time.Duration, now time.Time) []subscribers.Success {
	s.looked = now
	var out []subscribers.Success
	for id, at := range s.owed {
		if now.Sub(s.touched[id]) >= since {
			out = append(out, subscribers.Success{WebhookID: id, Ago: now.Sub(at)})
			delete(s.owed, id)
			s.touched[id] = now
		}
	}
	// All writers lock rows in the same order, so that two can't deadlock.
	slices.SortFunc(out, func(a, b subscribers.Success) int { return compareIDs(a.WebhookID, b.WebhookID) })
	return out
}

func compareIDs(a, b events.WebhookID) int { return slices.Compare(a[:], b[:]) }
