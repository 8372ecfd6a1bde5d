package retry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Text is a policy as JSON shows and stores it: durations are texts such as "90s" and
// "1h30m".
type Text struct {
	Type     string   `json:"type"`
	Delays   []string `json:"delays,omitempty"`
	Initial  string   `json:"initial,omitempty"`
	Factor   float64  `json:"factor,omitempty"`
	Max      string   `json:"max,omitempty"`
	Attempts int      `json:"attempts,omitempty"`
	Jitter   *float64 `json:"jitter,omitempty"`
	Final    []int    `json:"final,omitempty"`
}

// Text returns the text of a policy.
func (p *Policy) Text() Text {
	t := Text{Type: p.Type, Factor: p.Factor, Attempts: p.Attempts, Jitter: p.Jitter, Final: p.Final}
	for _, d := range p.Delays {
		t.Delays = append(t.Delays, Format(d))
	}
	if p.Type == Exponential {
		t.Initial, t.Max = Format(p.Initial), Format(p.Max)
	}
	return t
}

// Parse returns the policy of a text. It returns an [*events.FieldError] for a text
// that is no duration, and does not validate the policy.
func Parse(t Text) (Policy, error) {
	p := Policy{Type: t.Type, Factor: t.Factor, Attempts: t.Attempts, Jitter: t.Jitter, Final: t.Final}
	for i, text := range t.Delays {
		d, err := parse(text)
		if err != nil {
			return Policy{}, fault(fmt.Sprintf("delays[%d]", i), "%s", err)
		}
		p.Delays = append(p.Delays, d)
	}
	for _, f := range []struct {
		field, text string
		to          *time.Duration
	}{{"initial", t.Initial, &p.Initial}, {"max", t.Max, &p.Max}} {
		if f.text == "" {
			continue
		}
		d, err := parse(f.text)
		if err != nil {
			return Policy{}, fault(f.field, "%s", err)
		}
		*f.to = d
	}
	return p, nil
}

// errDuration shows no part of the text.
var errDuration = errors.New(`is not a duration such as "90s", "5m" or "1h30m"`)

func parse(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errDuration
	}
	return d, nil
}

// Format writes a duration without units that are zero: "5m", not "5m0s".
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalJSON writes the policy's [Text].
func (p Policy) MarshalJSON() ([]byte, error) { return json.Marshal(p.Text()) }

// UnmarshalJSON reads a [Text].
func (p *Policy) UnmarshalJSON(b []byte) error {
	var t Text
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	parsed, err := Parse(t)
	if err == nil {
		*p = parsed
	}
	return err
}
