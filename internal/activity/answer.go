package activity

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// MostRows bounds the rows of an answer.
	MostRows = 100
	// MostBehind bounds the webhooks that an answer names as behind, and those with an open breaker.
	MostBehind = 30
	// MostAnswerBytes bounds an answer that is read.
	MostAnswerBytes = 1 << 20
)

// Request asks a dispatcher process what it did lately. By is "" if no rows are wanted.
type Request struct {
	By     string `json:"by,omitempty"`
	Order  string `json:"order,omitempty"`
	Window string `json:"window,omitempty"` // one of [Windows]
	Limit  int    `json:"limit,omitempty"`
}

// Minute is what was counted in one minute.
type Minute struct {
	At int64 `json:"at"` // when it began, in Unix seconds
	Count
	Lags Lags `json:"lags"`
}

// Lane is a webhook's lane that needs attention.
type Lane struct {
	Webhook string `json:"webhook"`
	Tenant  string `json:"tenant"`
	// Failures are the failed attempts since the last success.
	Failures int `json:"failures,omitempty"`
	// RestsUntil is when the next attempt may be made, in Unix microseconds; 0: now.
	RestsUntil int64 `json:"rests_until,omitempty"`
	// Due is since when a row waits in the table, in Unix microseconds; 0: none does.
	Due int64 `json:"due,omitempty"`
}

// Holding is what a dispatcher holds now.
type Holding struct {
	Lanes        int `json:"lanes"`
	InFlight     int `json:"in_flight"`
	Queued       int `json:"queued"`
	OpenBreakers int `json:"open_breakers"`
	Partitions   int `json:"partitions"`
	// Slots and SlowSlots are how many attempts may be in flight.
	Slots     int `json:"slots"`
	SlowSlots int `json:"slow_slots"`
	// Behind counts the webhooks with due rows that wait in the table.
	Behind int `json:"behind"`
	// OldestDueMS is how long the oldest row that may be attempted has been due.
	OldestDueMS int64 `json:"oldest_due_ms"`
	// PastBroker says that events are taken from the outbox, because the broker does not deliver them.
	PastBroker bool `json:"past_broker,omitempty"`
	// Late are webhooks with rows that wait, those that wait longest first. Probing are webhooks with an open breaker,
	// those with most failures first. Both have at most [MostBehind].
	Late    []Lane `json:"late,omitempty"`
	Probing []Lane `json:"probing,omitempty"`
}

// Answer is what a dispatcher process says.
type Answer struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Lately  Minute   `json:"lately"`
	Seconds float64  `json:"seconds"` // how long Lately is
	Minutes []Minute `json:"minutes,omitempty"`
	Holding Holding  `json:"holding"`
	Rows    []Row    `json:"rows,omitempty"`
}

// DecodeRequest reads a request.
func DecodeRequest(body []byte) (q Request, err error) {
	if err := json.Unmarshal(body, &q); err != nil {
		return q, fmt.Errorf("decode a question to a dispatcher: %w", err)
	}
	return q, nil
}

// DecodeAnswer reads an answer. It refuses one of more than [MostAnswerBytes].
func DecodeAnswer(body []byte) (a Answer, err error) {
	if len(body) > MostAnswerBytes {
		return a, errors.New("decode a dispatcher's answer: it is too large")
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("decode a dispatcher's answer: %w", err)
	}
	return a, nil
}

// Merged is the sum of several answers.
type Merged struct {
	Lately  Minute
	Rates   Rates // of the last minute
	Minutes []Minute
	Holding Holding // its lists are sorted and cut as those of an answer
	Rows    []Row
}

// Merge adds up answers to the same request. An agent or a tenant that is below the first rows of
// each dispatcher is missing.
func Merge(answers []Answer, q Request) Merged {
	var m Merged
	minutes, rows := map[int64]*Minute{}, map[string]*Row{}
	for i := range answers {
		a := &answers[i]
		m.Lately.Count.add(a.Lately.Count)
		m.Lately.Lags.Add(&a.Lately.Lags)
		m.Lately.At = max(m.Lately.At, a.Lately.At)
		if a.Seconds > 0 {
			m.Rates.add(a.Lately.rates(a.Seconds))
		}
		for _, one := range a.Minutes {
			if sum := minutes[one.At]; sum != nil {
				sum.Count.add(one.Count)
				sum.Lags.Add(&one.Lags)
			} else {
				minutes[one.At] = &one
			}
		}
		for _, one := range a.Rows {
			if sum := rows[one.Name]; sum != nil {
				sum.Rates.add(one.Rates)
				sum.InFlight += one.InFlight
			} else {
				rows[one.Name] = &one
			}
		}
		m.Holding.add(&a.Holding)
	}
	for _, one := range minutes {
		m.Minutes = append(m.Minutes, *one)
	}
	slices.SortFunc(m.Minutes, func(a, b Minute) int { return int(a.At - b.At) })
	for _, one := range rows {
		m.Rows = append(m.Rows, *one)
	}
	SortRows(m.Rows, q.Order)
	m.Rows = m.Rows[:min(len(m.Rows), max(q.Limit, 0))]
	m.Holding.Late, m.Holding.Probing = SortLate(m.Holding.Late), SortProbing(m.Holding.Probing)
	return m
}

func (c *Count) rates(seconds float64) Rates {
	return Rates{Events: float64(c.Events) / seconds, Attempts: float64(c.Attempts) / seconds, Failures: float64(c.Failures) / seconds, Bytes: float64(c.Bytes) / seconds}
}

func (h *Holding) add(o *Holding) {
	h.Lanes += o.Lanes
	h.InFlight += o.InFlight
	h.Queued += o.Queued
	h.OpenBreakers += o.OpenBreakers
	h.Partitions += o.Partitions
	h.Slots += o.Slots
	h.SlowSlots += o.SlowSlots
	h.Behind += o.Behind
	h.OldestDueMS = max(h.OldestDueMS, o.OldestDueMS)
	h.PastBroker = h.PastBroker || o.PastBroker
	h.Late, h.Probing = append(h.Late, o.Late...), append(h.Probing, o.Probing...)
}

// OldestDue is how long the oldest row that may be attempted has been due.
func (h *Holding) OldestDue() time.Duration { return time.Duration(h.OldestDueMS) * time.Millisecond }

// SortLate sorts lanes by how long their rows wait, and cuts the list.
func SortLate(lanes []Lane) []Lane {
	slices.SortFunc(lanes, func(a, b Lane) int { return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.Webhook, b.Webhook)) })
	return lanes[:min(len(lanes), MostBehind)]
}

// SortProbing sorts lanes by their failures, and cuts the list.
func SortProbing(lanes []Lane) []Lane {
	slices.SortFunc(lanes, func(a, b Lane) int {
		return cmp.Or(cmp.Compare(b.Failures, a.Failures), cmp.Compare(a.Webhook, b.Webhook))
	})
	return lanes[:min(len(lanes), MostBehind)]
}
