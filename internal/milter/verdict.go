package milter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of what an event tells of a milter.
const (
	// MaxVerdictBytes is the most bytes that [Encode] makes and [Decode] takes.
	MaxVerdictBytes = 128 << 10
	// toldHeaders is the most fields, toldBytes the most bytes of all, and toldValue that of one value.
	toldHeaders = 50
	toldBytes   = 6 << 10
	toldValue   = 2 << 10
	toldReason  = 500
)

// Encode returns what milters said, for another process.
func Encode(list []email.Milter) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(list) // strings, numbers and lists: cannot fail
	return strings.TrimSpace(b.String())
}

// Decode reads what [Encode] made, or what somebody else wrote in that form. Unknown fields are left out. An error says
// what is wrong.
func Decode(s string) ([]email.Milter, error) {
	if len(s) > MaxVerdictBytes {
		return nil, fmt.Errorf("has %d bytes; the limit is %d", len(s), MaxVerdictBytes)
	}
	var list []email.Milter
	if err := json.Unmarshal([]byte(s), &list); err != nil {
		return nil, errors.New("is not a list of what milters said")
	}
	if len(list) > MaxMilters {
		return nil, fmt.Errorf("has %d milters; the limit is %d", len(list), MaxMilters)
	}
	for i := range list {
		m := &list[i]
		switch {
		case !validName(m.Name):
			return nil, fmt.Errorf("has a milter whose name does not consist of 1 to %d letters, digits, - and _", maxName)
		case m.Action != email.MilterAccept && m.Action != email.MilterQuarantine && m.Action != email.MilterUnavailable:
			return nil, errors.New("has an action that is not accept, quarantine or unavailable")
		}
		all := m.Headers
		m.Headers, m.Reason = [][2]string{}, clean(m.Reason, toldReason)
		for _, h := range all {
			tell(m, h[0], h[1])
		}
	}
	return list, nil
}

// tell adds a field that the milter added, changed or removed to what the event says.
func tell(m *email.Milter, name, value string) {
	have := 0
	for _, h := range m.Headers {
		have += len(h[0]) + len(h[1])
	}
	short := clean(value, toldValue)
	if len(m.Headers) == toldHeaders || len(name) > toldValue || have+len(name)+len(short) > toldBytes {
		m.Truncated = true
		return
	}
	if len(short) < len(clean(value, len(value))) {
		m.Truncated = true
	}
	m.Headers = append(m.Headers, [2]string{clean(name, toldValue), short})
}

// clean makes a text of a milter valid in events, replies and logs: it unfolds lines, removes control characters and
// cuts it to n bytes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return -1
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD")))
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// scoreFields are the header fields that tell a score, the plainest first.
var scoreFields = []struct {
	name string
	read func(string) (float64, bool)
}{
	{"X-Spam-Score", number},
	{"X-Rspamd-Score", number},
	{"X-Spam-Status", statusScore},
	{"X-Spamd-Result", resultScore},
}

// judge sets Spam and Score by the fields that the milter added.
func judge(m *email.Milter) {
	for _, f := range scoreFields {
		for _, h := range m.Headers {
			if v, ok := f.read(h[1]); ok && m.Score == nil && strings.EqualFold(h[0], f.name) {
				m.Score = &v
			}
		}
	}
	for _, name := range []string{"X-Spam-Flag", "X-Spam", "X-Spam-Status"} {
		for _, h := range m.Headers {
			if m.Spam == nil && strings.EqualFold(h[0], name) {
				m.Spam = yesOrNo(h[1])
			}
		}
	}
}

// yesOrNo reads "Yes", "no, score=…", "YES (details)"; nil for anything else.
func yesOrNo(v string) *bool {
	word := strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
	if len(word) == 0 || !slices.Contains([]string{"yes", "no", "true", "false"}, strings.ToLower(word[0])) {
		return nil
	}
	yes := strings.EqualFold(word[0], "yes") || strings.EqualFold(word[0], "true")
	return &yes
}

// number reads a value that begins with a number, as in "5.20 / 15.00".
func number(v string) (float64, bool) {
	word, _, _ := strings.Cut(strings.TrimSpace(v), " ")
	f, err := strconv.ParseFloat(word, 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// statusScore reads SpamAssassin's "No, score=1.2 required=5.0 tests=…"; "hits" is an older name.
func statusScore(v string) (float64, bool) {
	for _, word := range strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
		if name, value, ok := strings.Cut(word, "="); ok && (name == "score" || name == "hits") {
			return number(value)
		}
	}
	return 0, false
}

// resultScore reads rspamd's "default: False [5.20 / 15.00]; …".
func resultScore(v string) (float64, bool) {
	_, v, ok := strings.Cut(v, "[")
	if !ok {
		return 0, false
	}
	return number(v)
}
