package scheduler

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// fetchLanes bounds the lanes of one fetch, fetchRoom a lane's rows in it.
	fetchLanes = 256
	fetchRoom  = 512

	// A lane whose fetch failed or stalled is considered again after these
	// times.
	fetchFailedPause  = time.Second
	fetchStalledPause = 20 * time.Millisecond
)

// FetchFailed is the Next of a fetch that failed.
const FetchFailed = -1

// FetchResult is the end of one Fetch.
type FetchResult struct {
	WebhookID events.WebhookID
	// Rows that were leased.
	Rows int
	// Next is when the webhook's next row is due (Unix microseconds of the
	// database's clock): 0 where none is pending, [FetchFailed] where the
	// fetch failed.
	Next int64
}

// startFetch emits Fetch for the lanes that want rows, unless a fetch is
// running already. So lanes gather, and one statement serves them all.
func (s *Scheduler) startFetch(now Now) {
	if s.fetching > 0 || s.wanted.len() == 0 || s.mode >= modeStopping || !now.Time.Before(s.leaseUntil) {
		return
	}
	rows := s.budget.rows(len(s.held))
	for s.wanted.len() > 0 && s.fetching < fetchLanes && rows > 0 {
		l := s.wanted.pop()
		if l.fetch.state != fetchWanted {
			continue // its partition went, or it is listed twice
		}
		l.fetch.state = fetchIdle
		room := s.roomToFetch(l, rows)
		if room <= 0 {
			continue // considered again when it has completed some
		}
		rows -= room
		l.fetch.state, l.fetch.hint = fetchActive, 0
		s.fetching++
		s.out = append(s.out, Command{
			Kind: Fetch, Webhook: l.webhook.ID, Tenant: l.webhook.TenantID, Room: room, Strict: l.webhook.Strict && l.webhook.Status == Active,
		})
	}
}

// roomToFetch returns how many of the rows the lane may fetch.
func (s *Scheduler) roomToFetch(l *lane, rows int) int {
	switch {
	case l.webhook.Status == Deleted:
		return fetchRoom
	case l.webhook.Status == Disabled:
		return 0
	case l.webhook.Strict:
		return 1
	}
	room := min(l.ahead()-l.queued(), fetchRoom, rows)
	if s.budget.tight() {
		room = min(room, queueSlow-l.queued())
	}
	return room
}

// Fetched answers the Fetch commands of one statement, after the rows were
// added.
func (s *Scheduler) Fetched(now Now, results []FetchResult) {
	s.fetching = 0
	for _, r := range results {
		if l := s.lanes[r.WebhookID]; l != nil && l.fetch.state == fetchActive {
			s.fetched(l, r, now)
		} // else its partition went meanwhile
	}
}

func (s *Scheduler) fetched(l *lane, r FetchResult, now Now) {
	hint := l.fetch.hint
	l.fetch.state, l.fetch.hint = fetchIdle, 0
	s.leased += r.Rows
	if r.Next != FetchFailed {
		l.fetch.due = r.Next
	}
	if hint != 0 && (l.fetch.due == 0 || hint < l.fetch.due) {
		l.fetch.due = hint
	}
	switch {
	case r.Next == FetchFailed:
		s.timers.set(l, now.Time.Add(fetchFailedPause))
	case r.Rows == 0 && r.Next != 0 && now.until(r.Next) <= 0:
		l.fetch.state = fetchStalled
		s.timers.set(l, now.Time.Add(fetchStalledPause))
	default:
		s.consider(l, now)
	}
}
