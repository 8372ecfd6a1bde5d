package retry

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// The types of a policy.
const (
	// List waits as long as each of Delays says.
	List = "list"
	// Exponential waits Initial, and after each attempt Factor times as long, up to
	// Max.
	Exponential = "exponential"
)

// Limits of a policy. An error that a limit causes names it.
const (
	// MaxPolicyAttempts bounds the attempts of a delivery.
	MaxPolicyAttempts = 30
	// MinDelay and MaxDelay bound each wait.
	MinDelay = time.Second
	MaxDelay = 24 * time.Hour
	// MaxTotal bounds the sum of all waits with their jitter. An event is kept for
	// 30 days.
	MaxTotal = 28 * 24 * time.Hour
	// MaxFactor bounds the growth of the waits.
	MaxFactor = 100
	// MaxJitter bounds the jitter.
	MaxJitter = 0.5
	// MaxFinal bounds the number of final status codes.
	MaxFinal = 50
)

// Policy says when the deliveries of a webhook are attempted again, and which answers
// end them. A nil policy is the default. The zero value is not valid.
type Policy struct {
	// Type is [List] or [Exponential].
	Type string
	// Delays of a list: the wait before each attempt after the first. A list of n
	// delays makes n+1 attempts.
	Delays []time.Duration
	// Initial is the wait before the second attempt, Factor the growth of the waits,
	// from 1, Max the longest wait, and Attempts the number of attempts with the
	// first. They are those of an exponential policy.
	Initial  time.Duration
	Factor   float64
	Max      time.Duration
	Attempts int
	// Jitter spreads each wait by this part of it to both sides; nil: a tenth.
	Jitter *float64
	// Final are the status codes, from 300 to 599, after which no further attempt is
	// made.
	Final []int
}

// Validate returns an [*events.FieldError] for the first bad setting. Its field is
// relative to the policy, such as "delays[1]".
func (p *Policy) Validate() error {
	switch p.Type {
	case List:
		if err := p.validateList(); err != nil {
			return err
		}
	case Exponential:
		if err := p.validateExponential(); err != nil {
			return err
		}
	default:
		return fault("type", "is %.20q; it must be %q or %q", p.Type, List, Exponential)
	}
	if j := p.jitter(); !(j >= 0 && j <= MaxJitter) {
		return fault("jitter", "is %g; it must be from 0 to %g", j, MaxJitter)
	}
	if len(p.Final) > MaxFinal {
		return fault("final", "has %d status codes; the limit is %d", len(p.Final), MaxFinal)
	}
	for i, code := range p.Final {
		if code < 300 || code > 599 {
			return fault(fmt.Sprintf("final[%d]", i), "is %d; it must be a status code from 300 to 599", code)
		}
	}
	if total := p.longest(); total > MaxTotal {
		field := "delays"
		if p.Type == Exponential {
			field = "attempts"
		}
		return fault(field, "makes waits of up to %s together; the limit is %s", Format(total), Format(MaxTotal))
	}
	return nil
}

func fault(field, format string, args ...any) error {
	return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

func (p *Policy) validateList() error {
	if p.Initial != 0 || p.Factor != 0 || p.Max != 0 || p.Attempts != 0 {
		return fault("type", "is %q, which has no initial, factor, max or attempts", List)
	}
	if n := len(p.Delays); n >= MaxPolicyAttempts {
		return fault("delays", "has %d waits; the limit is %d, for %d attempts", n, MaxPolicyAttempts-1, MaxPolicyAttempts)
	}
	for i, d := range p.Delays {
		if err := within(fmt.Sprintf("delays[%d]", i), d, MinDelay); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) validateExponential() error {
	if p.Delays != nil {
		return fault("type", "is %q, which has no delays", Exponential)
	}
	if err := within("initial", p.Initial, MinDelay); err != nil {
		return err
	}
	if !(p.Factor >= 1 && p.Factor <= MaxFactor) {
		return fault("factor", "is %g; it must be from 1 to %d", p.Factor, MaxFactor)
	}
	if err := within("max", p.Max, p.Initial); err != nil {
		return err
	}
	if p.Attempts < 1 || p.Attempts > MaxPolicyAttempts {
		return fault("attempts", "is %d; it must be from 1 to %d", p.Attempts, MaxPolicyAttempts)
	}
	return nil
}

func within(field string, d, least time.Duration) error {
	if d < least || d > MaxDelay {
		return fault(field, "is %s; it must be from %s to %s", Format(d), Format(least), Format(MaxDelay))
	}
	return nil
}

// longest is the sum of all waits, each with its jitter on top.
func (p *Policy) longest() time.Duration {
	plain := *p
	plain.Jitter = new(float64)
	b, total := plain.BackOff(), time.Duration(0)
	for range plain.Count() - 1 {
		total += b.NextBackOff()
	}
	return total + time.Duration(float64(total)*p.jitter())
}

// EndsAt reports whether an answer with this status code ends a delivery at once.
func (p *Policy) EndsAt(status int) bool { return p != nil && slices.Contains(p.Final, status) }

// IsZero reports whether nothing is set.
func (p *Policy) IsZero() bool { return reflect.DeepEqual(*p, Policy{}) }
