package compat_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/compat"
)

// altered copies the contracts of the release with one change, which must change something.
func altered(t *testing.T, file, old, now string) (before, after compat.Contracts) {
	t.Helper()
	_, before, err := compat.Released(released)
	require.NoError(t, err)
	after = maps.Clone(before)
	if old == "" {
		require.Contains(t, before, file)
		delete(after, file)
		return before, after
	}
	require.Contains(t, before[file], old, file)
	after[file] = strings.Replace(before[file], old, now, 1)
	return before, after
}

// Each kind of break is reported, by the contract's file and what is broken.
func TestBreaksAreReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, old, now, says string }{
		"a field of an answer":              {"openapi.json", "\"created_at\": {\n\"format\": \"date-time\",\n\"type\": \"string\"\n},\n", "", "openapi.json: GET /v1/"},
		"an operation":                      {"openapi.json", "\"/v1/stats\": {", "\"/v1/statistics\": {", "GET /v1/stats: API path removed"},
		"a parameter":                       {"openapi.json", "\"name\": \"from\"", "\"name\": \"sender\"", "deleted the `query` request parameter `from`"},
		"a narrower type of an answer":      {"openapi.json", "\"attempts\": {\n\"format\": \"int64\",\n\"type\": \"integer\"", "\"attempts\": {\n\"type\": \"string\"", "type"},
		"a required field of a request":     {"openapi.json", "\"required\": [\n\"name\"\n]", "\"required\": [\n\"name\",\n\"operator\"\n]", "POST /v1/tenants: the request property `operator` became required"},
		"a type of events":                  {"schemas/email.failed.json", "", "", "the type email.failed is gone"},
		"a field of events":                 {"schemas/email.received.json", "\"subject\": {", "\"title\": {", "email.received.data.subject: string is gone"},
		"a field that was always there":     {"schemas/webhook.failing.json", "\"failing_since\",\n", "", "webhook.failing.data: always has failing_since is gone"},
		"another type of a field":           {"schemas/email.bounced.json", "\"conversation_id\": {\n\"type\": \"string\"", "\"conversation_id\": {\n\"type\": \"integer\"", "email.bounced.data.conversation_id: string is gone"},
		"an envelope that schemas refuse":   {"envelopes/webhook.recovered.json", "\"webhook_id\":", "\"webhook\":", "the envelope does not fit the released schema"},
		"a schema that refuses envelopes":   {"schemas/webhook.recovered.json", "\"required\": [\n", "\"required\": [\n\"reason\",\n", "the released envelope does not fit the schema"},
		"another order of fields":           {"envelopes/webhook.recovered.json", "{\"type\":\"webhook.recovered\",", "{", ".type is gone, or comes earlier"},
		"other bytes of the same value":     {"envelopes/email.received-full.json", "<", "\\u003c", " and is "},
		"blanks in an envelope":             {"envelopes/email.received-full.json", ":\"", ": \"", "has blanks between values"},
		"a golden envelope":                 {"envelopes/email.bounced.json", "", "", "the golden envelope is gone"},
		"another signature":                 {"vectors.json", "\"v1,", "\"v2,", "\"signed\".headers.Webhook-Signature was"},
		"a vector":                          {"vectors.json", "\"name\": \"an empty body\"", "\"name\": \"no body\"", "the request \"an empty body\" is gone"},
		"an exported symbol":                {"exported.txt", ".: func Client.Run(ctx context.Context) error\n", "", "func Client.Run(ctx context.Context) error is gone"},
		"another signature of a function":   {"exported.txt", ".: func Client.Run(ctx context.Context) error", ".: func Client.Run(ctx context.Context)", "func Client.Run(ctx context.Context) error is gone"},
		"a metric":                          {"metrics.txt", "fanmail_outbox_failures_total: counter", "fanmail_outbox_errors_total: counter", "fanmail_outbox_failures_total: counter{"},
		"another label":                     {"metrics.txt", "counter{quota}", "counter{quota, tenant}", "counter{quota} is gone"},
		"a metric of a process":             {"metrics.txt", "fanmail_build_info: from ingest\n", "", "fanmail_build_info: from ingest is gone"},
		"a variable":                        {"settings.txt", "FANMAIL_DATABASE_URL: --", "FANMAIL_POSTGRES_URL: --", "FANMAIL_DATABASE_URL: --database-url is gone"},
		"a flag":                            {"settings.txt", ": --slots\n", ": --max-attempts\n", "FANMAIL_SLOTS: --slots is gone"},
		"a setting of a process":            {"settings.txt", "FANMAIL_SLOTS: of dispatcher\n", "", "FANMAIL_SLOTS: of dispatcher is gone"},
		"a command":                         {"commands.txt", "fanmail keys rotate: ", "fanmail keys renew: ", "fanmail keys rotate: "},
		"a flag of a command":               {"commands.txt", "fanmail webhooks create: --events=", "fanmail webhooks create: --types=", "fanmail webhooks create: --events="},
		"a flag that a command needs":       {"commands.txt", "fanmail keys list: ", "fanmail keys list: must have --tenant\nfanmail keys list: ", "fanmail keys list: must have --tenant is new"},
		"a subject":                         {"subjects.txt", "mail.events.>: ", "mail.event.>: ", "mail.events.>: service is gone"},
		"a right of a process":              {"subjects.txt", "user publisher: may publish mail.events.>\n", "", "user publisher: may publish mail.events.> is gone"},
		"the variable of a password":        {"subjects.txt", "password $FANMAIL_NATS_API_PASSWORD", "password $API_PASSWORD", "password $FANMAIL_NATS_API_PASSWORD is gone"},
		"a header of a request":             {"headers.txt", "webhook request: X-E2A-Signature", "webhook request: X-Signature", "webhook request: X-E2A-Signature is gone"},
		"a header of messages":              {"headers.txt", "message in a stream: Fanmail-Event\n", "", "Fanmail-Event is gone"},
		"a value of the chart":              {"values.txt", "\napi.replicas: integer", "\napi.copies: integer", "api.replicas: integer is gone"},
		"a value that the chart wants":      {"values.txt", "\napi: object\n", "\napi: object\napi: must have publicURL\n", "api: must have publicURL is new"},
		"a narrower value of the chart":     {"values.txt", "api.replicas: must keep minimum 0", "api.replicas: must keep minimum 2", "api.replicas: must keep minimum 2 is new"},
		"a restriction that was not there":  {"values.txt", "\napi.priorityClassName: string", "\napi.priorityClassName: must keep pattern \"^a\"\napi.priorityClassName: string", "must keep pattern \"^a\" is new"},
		"a whole contract that is not kept": {"headers.txt", "", "", "headers.txt: webhook request: webhook-id is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := altered(t, c.file, c.old, c.now)
			breaks, err := compat.Breaks(before, after)
			require.NoError(t, err)
			require.Contains(t, strings.Join(breaks, "\n"), c.says)
			for _, b := range breaks {
				require.True(t, strings.HasPrefix(b, c.file) || strings.HasPrefix(b, "envelopes/"), "something else is broken: %s", b)
			}
		})
	}
}

// What a minor release may do is no break.
func TestAdditionsBreakNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, old, now string }{
		"an optional field of an answer":  {"openapi.json", "\"created_at\": {\n\"format\"", "\"made_by\": {\n\"type\": \"string\"\n},\n\"created_at\": {\n\"format\""},
		"a field of events":               {"schemas/webhook.failing.json", "\"failing_since\": {", "\"since_attempt\": {\n\"type\": \"string\"\n},\n\"failing_since\": {"},
		"a field of an envelope":          {"envelopes/webhook.recovered.json", "\"webhook_id\":", "\"by\":\"a\",\"webhook_id\":"},
		"a vector":                        {"vectors.json", "[\n", "[\n{\"name\": \"fresh\"},\n"},
		"a symbol":                        {"exported.txt", ".: func Client.Run(", ".: func Client.Fresh()\n.: func Client.Run("},
		"a metric":                        {"metrics.txt", "fanmail_build_info: from ingest\n", "fanmail_build_info: from ingest\nfanmail_fresh: gauge{}\n"},
		"an optional flag":                {"commands.txt", "fanmail keys list: ", "fanmail keys list: --fresh=\nfanmail keys list: "},
		"a flag that a new command needs": {"commands.txt", "fanmail keys list: ", "fanmail keys fresh: must have --tenant\nfanmail keys list: "},
		"a value of the chart":            {"values.txt", "\napi.replicas: integer", "\napi.fresh: integer\napi.fresh: must keep minimum 1\napi.replicas: integer"},
		"a lower minimum":                 {"values.txt", "api.maxWebhooks: must keep minimum 1", "api.maxWebhooks: must keep minimum 0"},
		"a higher maximum":                {"values.txt", "api.defaultMaxInFlight: must keep maximum 4096", "api.defaultMaxInFlight: must keep maximum 8192"},
		"a restriction that is gone":      {"values.txt", "api.replicas: must keep minimum 0\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := altered(t, c.file, c.old, c.now)
			breaks, err := compat.Breaks(before, after)
			require.NoError(t, err)
			require.Empty(t, breaks)
		})
	}
}

// A field that is renamed in the schema and in the samples alike: what was stored does not fit the one, and what is sent now
// not the other.
func TestEnvelopesAreHeldAgainstTheOtherReleasesSchema(t *testing.T) {
	t.Parallel()
	const schema, envelope = "schemas/webhook.recovered.json", "envelopes/webhook.recovered.json"
	before, after := altered(t, envelope, "\"webhook_id\":", "\"id_of_webhook\":")
	after[schema] = strings.ReplaceAll(before[schema], "\"webhook_id\"", "\"id_of_webhook\"")
	breaks, err := compat.Breaks(before, after)
	require.NoError(t, err)
	all := strings.Join(breaks, "\n")
	require.Contains(t, all, envelope+": the released envelope does not fit the schema: ")
	require.Contains(t, all, envelope+": the envelope does not fit the released schema: ")
}

func TestTheOrderOfFieldsIsKept(t *testing.T) {
	t.Parallel()
	of := func(envelope string) compat.Contracts { return compat.Contracts{"envelopes/email.sent.json": envelope} }
	breaks, err := compat.Breaks(of(`{"a":1,"b":[{"c":2}]}`), of(`{"new":0,"a":1,"more":[],"b":[{"c":2,"d":3}]}`))
	require.NoError(t, err)
	require.Empty(t, breaks)
	breaks, err = compat.Breaks(of(`{"a":1,"b":2}`), of(`{"b":2,"a":1}`))
	require.NoError(t, err)
	require.Equal(t, []string{"envelopes/email.sent.json: .b is gone, or comes earlier than before"}, breaks)
}

// A method that an interface gets breaks those who implement it.
func TestAMethodOfAnInterfaceIsReported(t *testing.T) {
	t.Parallel()
	old := "outbox: type Sink interface\noutbox: type Sink: Put func()\noutbox: type Row struct\noutbox: type Row: ID string\n"
	breaks, err := compat.Breaks(compat.Contracts{"exported.txt": old}, compat.Contracts{"exported.txt": old + "outbox: type Row: Size int\noutbox: type Sink: Drop func()\n"})
	require.NoError(t, err)
	require.Equal(t, []string{"exported.txt: outbox: type Sink: must have Drop func() is new"}, breaks)
}

func TestBreaksAreAcceptedIfTheChangelogNamesThem(t *testing.T) {
	t.Parallel()
	const changelog = "# Changelog\n\n## [Unreleased]\n### Added\n- `FANMAIL_C` is new.\n\n### Changed\n- `FANMAIL_A` is `FANMAIL_B`.\n\n## [0.1.0]\n### Changed\n- `FANMAIL_C` went.\n"
	const a, b = "settings.txt: FANMAIL_A: --a is gone", "settings.txt: FANMAIL_C: --c is gone"
	for name, c := range map[string]struct {
		list             string
		left, complaints []string
	}{
		"named":                 {"# why\n" + a + "\n    FANMAIL_A: nobody could set it\n", []string{b}, nil},
		"no list":               {"", []string{a, b}, nil},
		"no reason":             {a + "\n    FANMAIL_A:\n", []string{a, b}, []string{a + ": the line below it has to be \"    NAME: REASON\""}},
		"no line below":         {a + "\n", []string{a, b}, []string{a + ": the line below it has to be \"    NAME: REASON\""}},
		"nothing breaks so":     {"settings.txt: X: --x is gone\n    FANMAIL_A: a reason\n", []string{a, b}, []string{"settings.txt: X: --x is gone: nothing breaks like that; remove it"}},
		"under another heading": {b + "\n    FANMAIL_C: a reason\n", []string{a, b}, []string{b + `: CHANGELOG.md does not say "FANMAIL_C" under "Changed" after 0.1.0`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left, complaints := compat.Accept([]string{a, b}, c.list, changelog, "0.1.0", "0.1.0")
			require.Equal(t, c.left, left)
			require.Equal(t, c.complaints, complaints)
		})
	}
}

// After 1.0.0 a list of breaks helps only a next major release.
func TestOnlyAMajorReleaseBreaksAfterTheFirst(t *testing.T) {
	t.Parallel()
	const b = "settings.txt: FANMAIL_A: --a is gone"
	const changelog = "## [Unreleased]\n### Changed\n- `FANMAIL_A` is gone.\n"
	for next, want := range map[string]int{"1.3.0": 1, "2.0.0": 0, "10.0.0": 0} {
		left, complaints := compat.Accept([]string{b}, b+"\n    FANMAIL_A: a reason\n", changelog, "1.2.0", next)
		require.Len(t, left, want, next)
		require.Empty(t, complaints)
	}
}

func TestTheContractsOfOneReleaseAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, err := compat.Released(dir)
	require.ErrorContains(t, err, "run `make release-contract`")
	want := compat.Contracts{"a.txt": "a\n", "schemas/b.json": "{}\n"}
	require.NoError(t, compat.Contracts{"old.txt": "x"}.Write(dir, "0.1.0"))
	require.NoError(t, want.Write(dir, "0.2.0"))
	version, have, err := compat.Released(dir)
	require.NoError(t, err)
	require.Equal(t, "0.2.0", version)
	require.Equal(t, want, have)
}
