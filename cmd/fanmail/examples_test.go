package main

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// parser parses the command line as run does.
func parser(t *testing.T) *kong.Kong {
	t.Helper()
	k, err := kong.New(&cli{}, kong.Name("fanmail"), kong.Vars{"version": ""})
	require.NoError(t, err)
	return k
}

// leaves are the commands without subcommands, by their words.
func leaves(t *testing.T) map[string]*kong.Node {
	t.Helper()
	found := map[string]*kong.Node{}
	for _, n := range parser(t).Model.Leaves(true) {
		words := []string{}
		for at := n; at.Parent != nil; at = at.Parent {
			words = append(words, at.Name)
		}
		slices.Reverse(words)
		found[strings.Join(words, " ")] = n
	}
	return found
}

// split splits a command line as a shell does that knows single quotes only.
func split(line string) []string {
	var args []string
	for _, m := range regexp.MustCompile(`(?:[^\s']|'[^']*')+`).FindAllString(line, -1) {
		args = append(args, strings.ReplaceAll(m, "'", ""))
	}
	return args
}

// endless are commands that run until they are interrupted.
var endless = []string{"listen", "events tail", "mcp"}

// callsAPI says whether a command calls the API with a key.
func callsAPI(n *kong.Node) bool {
	return slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return f.Name == "key" })
}

// TestTheHelpOfEachCommandHasExamples that can be run: each parses, and those that call the API get an answer that
// refuses neither a field nor a value. The ids in them are of no object.
func TestTheHelpOfEachCommandHasExamples(t *testing.T) {
	t.Parallel()
	dir := up(t)
	for name, n := range leaves(t) {
		list := examples(n)
		require.NotEmpty(t, list, "fanmail %s has no example: add the tag example:\"…\" to the command", name)
		for _, line := range list {
			args := split(line)
			require.Equal(t, "fanmail", args[0], line)
			command, err := parser(t).Parse(args[1:])
			require.NoError(t, err, line)
			require.NoError(t, checkIDs(command), line)
			require.Equal(t, n.FullPath(), command.Selected().FullPath(), line)
			if !callsAPI(n) || slices.Contains(endless, name) {
				continue
			}
			out, code := fanmail(t, dir, `{"n":1}`, args[1:]...)
			require.True(t, code == 0 || regexp.MustCompile(`\((404|409)\)|names no |add --yes`).MatchString(out), "%s: %s", line, out)
		}
	}
}

func TestHelpEndsWithTheExamples(t *testing.T) {
	t.Parallel()
	require.Contains(t, help(t, "agents", "create"), "\n\nExamples:\n  fanmail agents create robot@example.com\n  fanmail agents create '*@example.com' --require-dmarc\n")
}

// TestWhatIsMisspelledIsRecognized in commands, flags and values, of the command line's own lists and of the API's.
func TestWhatIsMisspelledIsRecognized(t *testing.T) {
	t.Parallel()
	dir := up(t)
	for line, meant := range map[string]string{
		"webhoks list":                 "webhooks",
		"webhooks lsit":                "list",
		"events list --tpye x":         "--type",
		"stats --window 24":            "24h",
		"replay --since 2h --mode al":  "all",
		"events create email.recieved": "email.received",
		"webhooks create --url https://example.com/ --events email.sent,email.bounce": "email.bounced",
		"webhooks create --url https://example.com/ --events=email.snet":              "email.sent",
		"deliveries list --status=deliverd":                                           "delivered",
	} {
		out, code := fanmail(t, dir, "{}", strings.Fields(line)...)
		require.Equal(t, 1, code, line)
		require.Regexp(t, `did you mean "`+regexp.QuoteMeta(meant)+`"\?`, out, line)
		require.Equal(t, 1, strings.Count(out, "\n"), "one line: %s", out)
	}
	out, _ := fanmail(t, dir, "{}", "events", "create", "order.shipped")
	require.NotContains(t, out, "did you mean", "nothing is like it")
}

// TestAnIDOfAnotherKindIsRecognized before anything is sent.
func TestAnIDOfAnotherKindIsRecognized(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("0", 32)
	for line, want := range map[string]string{
		"webhooks get whd_" + digits:                  "is the id of a delivery; it must be the id of a webhook (wh_…), which `fanmail webhooks list` shows",
		"deliveries get wh_" + digits:                 "is the id of a webhook; it must be the id of a delivery (whd_…)",
		"stats --webhook " + digits:                   "--webhook: \"" + digits + "\" is not the id of a webhook (wh_…)",
		"portal-links create wh_" + digits + " evt_1": "evt_1 is the id of an event; it must be the id of a webhook",
		"events list --tenant acme":                   "--tenant: \"acme\" is not the id of a tenant (ten_…), which `fanmail tenants list` shows",
	} {
		out, code := fanmail(t, t.TempDir(), "", strings.Fields(line)...)
		require.Equal(t, 1, code, line)
		require.Contains(t, out, want, line)
	}
	for name, n := range leaves(t) {
		for _, v := range n.Values() {
			if callsAPI(n) && (v.Name == "id" || v.Name == "webhook" || v.Name == "webhooks" || v.Name == "tenant") && !v.IsBool() && v.Target.Kind().String() != "ptr" {
				require.NotEmpty(t, v.Tag.Get("of"), "fanmail %s: %s needs the tag of:\"KIND\"", name, v.ShortSummary())
			}
		}
	}
}

func TestTheShellCompletesCommandsFlagsAndValues(t *testing.T) {
	t.Parallel()
	complete := func(line string) []string {
		return strings.Fields(completed(t, line))
	}
	require.Contains(t, complete("fanmail webhooks r"), "rotate")
	require.Contains(t, complete("fanmail webhooks update --ra"), "--rate-limit")
	require.Contains(t, complete("fanmail stats --window "), "24h")
	require.Contains(t, complete("fanmail webhooks create --events email.re"), "email.received")
	require.Contains(t, complete("fanmail events create email.b"), "email.bounced")
	require.Contains(t, complete("fanmail deliveries list --status "), "delivered")
	require.Contains(t, complete("fanmail webhooks update --clear "), "rate_limit")
	// Each flag with a closed set of values completes it.
	for name, n := range leaves(t) {
		for _, f := range n.Flags {
			if f.Enum != "" {
				require.Subset(t, complete("fanmail "+name+" --"+f.Name+" "), slices.DeleteFunc(f.EnumSlice(), func(v string) bool { return v == "" }), "%s --%s", name, f.Name)
			}
		}
	}
}

func TestTheVersionIsPrinted(t *testing.T) {
	t.Parallel()
	require.Regexp(t, `^fanmail \d+\.\d+\.\d+ \(commit \S+, go1\.\S+, \w+/\w+\)\n$`, must(t, t.TempDir(), "", "version"))
	require.NotEmpty(t, object(t, must(t, t.TempDir(), "", "version", "--json"))["commit"])
}

// TestASampleMailIsSentAndShownWhole by listen --verbose.
func TestASampleMailIsSentAndShownWhole(t *testing.T) {
	t.Parallel()
	dir := up(t)
	must(t, dir, "", "agents", "create", "agent@fanmail.example")
	out, _ := background(t, dir, "listen", "--verbose")
	out.shows(t, "listening on")
	for range 2 {
		require.Contains(t, must(t, dir, "", "send", "--to", "agent@fanmail.example"), "  250 ")
	}
	require.Len(t, listing(t, dir, "events", "list"), 2, "each is a mail of its own")
	out.shows(t, `"A sample mail" from sample@fanmail.example`)
	out.shows(t, "  Webhook-Signature: v1,")
	out.shows(t, `    "type": "email.received"`)
}

func TestCapacityPrintsWhatItAssumes(t *testing.T) {
	t.Parallel()
	var out screen
	require.Zero(t, run(context.Background(), []string{"capacity", "--fan-out", "7"}, &session{out: &out, err: &out}), out.String())
	require.Regexp(t, `(?m)^  --fan-out 7 +Webhooks that an event matches\.$`, out.String())
	require.Regexp(t, `(?m)^  --retention-days 30 +How long events and deliveries are kept\.$`, out.String())
	for _, f := range leaves(t)["capacity plan"].Flags {
		if f.HasDefault {
			require.Contains(t, out.String(), "--"+f.Name)
		}
	}
}
