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

// A block's language decides whether a test runs it.
func TestEachCodeBlockHasALanguage(t *testing.T) {
	t.Parallel()
	for path, text := range pages(t) {
		open := false
		for i, line := range strings.Split(text, "\n") {
			mark := strings.TrimSpace(line)
			if !strings.HasPrefix(mark, "```") {
				continue
			}
			if open = !open; open {
				require.NotEqual(t, "```", mark, "%s:%d", path, i+1)
			}
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

// figure is a line of a page and the constant that it describes, as a regular
// expression, so that the code may move between packages.
type figure struct{ line, code string }

func requireFigures(t *testing.T, path string, figures []figure) {
	t.Helper()
	page, src := strings.Join(strings.Fields(read(t, "../../"+path)), " "), sources(t)
	for _, f := range figures {
		require.Contains(t, page, f.line)
		require.True(t, regexp.MustCompile(f.code).MatchString(src), "%s does not say what the code says: %s", path, f.line)
	}
}

func TestLimitsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	requireFigures(t, limitsPage, []figure{
		{"| at once | +1 m | +5 m | +15 m | +1 h | +4 h | +8 h | +16 h |", `0, time\.Minute, 5 \* time\.Minute, 15 \* time\.Minute, time\.Hour, 4 \* time\.Hour, 8 \* time\.Hour, 16 \* time\.Hour`},
		{"A delivery has eight attempts.", `\bMaxAttempts += 8\b`},
		{"a jitter of ±10 %", `\bjitter += 0\.10\b`},
		{"| longest `Retry-After` that is honoured | 24 h |", `\bMaxRetryAfter += 24 \* time\.Hour`},
		{"| 15 s; 30 s for an agent's own webhook |", `\bDefaultTimeout += 15 \* time\.Second`},
		{"| 15 s; 30 s for an agent's own webhook |", `\bAttemptTimeout += 30 \* time\.Second`},
		{"| at most 1,024 by default (", `\bDefaultMaxInFlight += 1024\b`},
		{"), 1 to 4,096; below it, a [window]", `\bMaxMaxInFlight += 4096\b`},
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
		{"| a path in `data` of a filter | 256 bytes, 10 keys |", `\bMaxPathBytes = 256\b`},
		{"| a path in `data` of a filter | 256 bytes, 10 keys |", `\bMaxPathKeys = 10\b`},
		{"| 64 characters, 0 or from 1e-1000 to 1e1000 in size |", `\bMaxNumberBytes = 64\b`},
		{"| 64 characters, 0 or from 1e-1000 to 1e1000 in size |", `\bMaxExponent = 1000\b`},
		{"| the first 1,000 that its path leads to |", `\bMaxValues = 1000\b`},
		{"| description | 200 bytes |", `\bMaxDescriptionBytes += 200\b`},
		{"| envelope | 256 KiB |", `\bMaxEnvelopeBytes += 256 << 10\b`},
		{"each label | 998 bytes |", `\bMaxKeyBytes += 998\b`},
		{"| labels of an event | 100 |", `\bMaxLabels += 100\b`},
		{"in an event's data or a request's body | 100 |", `\bMaxDepth = 100\b`},
		{"| errors that a problem lists | 20 |", `\bmaxProblemErrors += 20\b`},
		{"| unfinished replays of a tenant | 10 |", `\bMaxActive += 10\b`},
		{"| agents in a replay's filter | 50 |", `\bMaxAgents += 50\b`},
		{"| time to send the headers, and the body | 10 s, and 5 s |", `\bbodyTimeout = 5 \* time\.Second`},
		{"| at once; within 5 s if the broker loses the message |", `\brevocationCheck = 5 \* time\.Second`},
		{"| open `GET /v1/events/tail` streams | `event_streams` | 16, in each process |", `\bEventStreams: 16\b`},
		{"| body that is read | 1 MiB by default |", `\bDefaultMaxBody = 1 << 20\b`},
		{"| the last 10,000 by default, and those in flight |", `\bDefaultMemory = 10_000\b`},
		{"| keys | `keys` | 100 |", `\bKeys: 100\b`},
		{"| agents | `agents` | 10,000 |", `\bAgents: 10_000\b`},
		{"| events a second of requests and of mail | `events_per_second` | 5,000, in each process; twice as many at once |", `\bEventsPerSecond: 5000\b`},
		{"| events a day | `events_per_day` | 5,000,000 |", `\bEventsPerDay: 5_000_000\b`},
		{"| bytes of mails, requests and messages a day | `bytes_per_day` | 20 GiB |", `\bBytesPerDay: 20 << 30\b`},
		{"| replays within an hour | `replays_per_hour` | 60 |", `\bReplaysPerHour: 60\b`},
		{"| senders in a list of an agent | 1,000 |", `\bMaxSenders = 1000\b`},
		{"| networks of a key | 32 |", `\bMaxNetworks = 32\b`},
		{"| an `Idempotency-Key` | 255 characters |", `\bmaxIdempotencyKey += 255\b`},
		{"| a portal link is valid for | 1 h by default, 30 days at most |", `\bMaxPortalLifetime = 30 \* 24 \* time\.Hour`},
		{"| valid portal links of a tenant | 10,000 |", `\bMaxPortalLinks = 10_000\b`},
		{"| requests a second over one portal link | 20, in each process |", `\bportalRate = 20\b`},
		{"| an address or a domain that was deleted | 30 days, for its former tenant alone |", `\bQuarantine = 30 \* 24 \* time\.Hour`},
		{"| the audit log | 365 days (`FANMAIL_AUDIT_RETENTION`) |", `env:"FANMAIL_AUDIT_RETENTION" default:"8760h"`},
	})
}

func TestTimersOfTheDesignAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	requireFigures(t, "docs/explanation/design.md", []figure{
		{"| relay | 4 ms from the start of a round to the next |", `\bpace += 4 \* time\.Millisecond`},
		{"| relay | 16 µs for each event that arrives a second, 10 ms at most,", `\blinger += 10 \* time\.Millisecond\s+lingerOf = 16 \* time\.Microsecond`},
		{"| outcome writer | 50 ms, or until 64 entries wait |", `\bgatherRest += 50 \* time\.Millisecond\s+gatheredBatch = 64\b`},
		{"From 250 events a second on", `\bhintsEnd, hintsBegin = 250, 150\b`},
		{"| relay | as long as the round took, 20 ms at most |", `\bmaxGather += 20 \* time\.Millisecond`},
		{"| fan-out | 5 ms before a second batch may start beside the first |", `\bpatience += 5 \* time\.Millisecond`},
		{"| outcome writer | as long as the commit took, for each other dispatcher, 20 ms at most |", `\boutcomeRest += 20 \* time\.Millisecond`},
		{"A message that grows past 128 KiB is continued in the next one", `\bMessageBytes += 128 << 10\b`},
		{"an envelope of over 32 KiB is not sent along", `\bInlineEnvelope += 32 << 10\b`},
		{"a fast or new lane at least 1,024 deliveries", `\bqueueFirst += 1024\b`},
		{"at most 4,096", `\bqueueFast += 4096\b`},
		{"discard their plans every two seconds", `\breplanEvery = 2 \* time\.Second`},
	})
}

func TestPagesNameTheOldestNATS(t *testing.T) {
	t.Parallel()
	for path, line := range map[string]string{
		"docs/reference/versioning.md":        "| NATS | 2.12.3 |",
		"docs/how-to/deploy-on-kubernetes.md": "**NATS** 2.12.3 or later",
		"docs/how-to/install.md":              "NATS 2.12.3 or later",
		"CHANGELOG.md":                        "NATS 2.12.3 or later",
		"deploy/packages/nfpm.yaml":           "NATS 2.12.3 or later",
	} {
		requireFigures(t, path, []figure{{line, `\bOldest = "2\.12\.3"`}})
	}
	requireFigures(t, "docs/how-to/replay.md", []figure{{"NATS 2.14 or later", `\bResetFrom = "2\.14\.0"`}})
}

// TestTheFlowNamesFilesThatExist reads docs/explanation/flow.md.
func TestTheFlowNamesFilesThatExist(t *testing.T) {
	t.Parallel()
	found := regexp.MustCompile("`((?:[a-z]+/)+[a-z_]+\\.go)`").FindAllStringSubmatch(read(t, "../../docs/explanation/flow.md"), -1)
	require.Greater(t, len(found), 30)
	for _, m := range found {
		require.FileExists(t, "../../"+m[1])
	}
}
