package arch_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestProseIsWrapped allows long lines only where they can't be wrapped: in
// tables, code and single words.
func TestProseIsWrapped(t *testing.T) {
	t.Parallel()
	const columns = 120
	for path, text := range pages(t) {
		code := false
		for i, line := range strings.Split(text, "\n") {
			trimmed := strings.TrimSpace(line)
			if strings.HasPrefix(trimmed, "```") {
				code = !code
			}
			if code || strings.HasPrefix(trimmed, "|") || !strings.Contains(trimmed, " ") {
				continue
			}
			require.LessOrEqual(t, utf8.RuneCountInString(line), columns, "%s:%d is too long:\n%s", path, i+1, line)
		}
	}
}

// TestTheRetryScheduleIsWrittenOnce: other pages link to it.
func TestTheRetryScheduleIsWrittenOnce(t *testing.T) {
	t.Parallel()
	step := regexp.MustCompile(`\+[0-9]+ [mh]\b`)
	for path, text := range pages(t) {
		if path == limitsPage {
			require.Len(t, step.FindAllString(text, -1), 7)
			continue
		}
		require.Empty(t, step.FindAllString(text, -1), "%s repeats the retry schedule: link to %s", path, limitsPage)
	}
}

const limitsPage = "docs/reference/limits.md"

// TestLimitsAreThoseOfTheCode compares lines of the page with the constants
// that they describe. The code is given as a regular expression, so that it may
// move between packages.
func TestLimitsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	page, src := read(t, "../../"+limitsPage), sources(t)
	for _, limit := range []struct{ line, code string }{
		{"| at once | +1 m | +5 m | +15 m | +1 h | +4 h | +8 h | +16 h |", `0, time\.Minute, 5 \* time\.Minute, 15 \* time\.Minute, time\.Hour, 4 \* time\.Hour, 8 \* time\.Hour, 16 \* time\.Hour`},
		{"A delivery has eight attempts.", `\bMaxAttempts += 8\b`},
		{"a jitter of ±10 %", `\bjitter += 0\.10\b`},
		{"| longest `Retry-After` that is honoured | 24 h |", `\bMaxRetryAfter += 24 \* time\.Hour`},
		{"| 15 s; 30 s for an agent's own webhook |", `\bAttemptTimeout += 15 \* time\.Second`},
		{"| 15 s; 30 s for an agent's own webhook |", `\bAttemptTimeout += 30 \* time\.Second`},
		{"| 32 by default, 1 to 256 |", `\bDefaultMaxInFlight += 32\b`},
		{"| 32 by default, 1 to 256 |", `\bMaxMaxInFlight += 256\b`},
		{"| none by default, 1 to 10,000 a second |", `\bMaxRateLimit += 10_000\b`},
		{"| 1, then 4 after a fast answer; in each dispatcher process |", `\bperAgent += 4\b`},
		{"| an outbox row, after it was published | 30 s; each further publication doubles it, up to 5 min |", `\bMaxLease += 5 \* time\.Minute`},
		{"| a new delivery row | 30 s |", `\bFirstLease += 30 \* time\.Second`},
		{"| a fetched delivery row | 5 min; 30 s in strict order |", `\bLeaseDuration += 5 \* time\.Minute`},
		{"| a partition | 6 s, renewed every second |", `\bpartitionLease += 6 \* time\.Second`},
		{"| a rotated secret still signs for | 24 h |", `\bRotationGrace += 24 \* time\.Hour`},
		{"| an automatically disabled webhook can be enabled again after | 5 min |", `\bReenableCooldown += 5 \* time\.Minute`},
		{"| at least 10 within 72 h, and no success |", `\bDisableWindow += 72 \* time\.Hour`},
		{"| URL | 2,048 bytes |", `\bMaxURLBytes += 2048\b`},
		{"| description | 200 bytes |", `\bMaxDescriptionBytes += 200\b`},
		{"| envelope | 256 KiB |", `\bMaxEnvelopeBytes += 256 << 10\b`},
		{"each label | 998 bytes |", `\bMaxKeyBytes += 998\b`},
		{"| labels of an event | 100 |", `\bMaxLabels += 100\b`},
		{"| unfinished replays of a tenant | 10 |", `\bMaxActive += 10\b`},
		{"| agents in a replay's filter | 50 |", `\bMaxAgents += 50\b`},
		{"| open `GET /v1/events/tail` streams of one key | 8 in a process |", `\bmaxTails += 8\b`},
	} {
		require.Contains(t, page, limit.line)
		require.Regexp(t, regexp.MustCompile(limit.code), src, "%s does not say what the code says: %s", limitsPage, limit.line)
	}
}
