package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// consolePages are the console's pages by file name.
func consolePages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../internal/console/pages/*.html")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		out[filepath.Base(f)] = string(b)
	}
	return out
}

func commandLine(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(&cli{}, kong.Vars{"version": "", "http_addr": ""})
	require.NoError(t, err)
	return k.Model
}

var (
	shownCommand = regexp.MustCompile(`<code>fanmail ([^<]*)</code>`)
	navLabel     = regexp.MustCompile(`<a href="\{\{path "[^"]*"\}\}"[^\n]*>([A-Z][A-Za-z ]*)</a>`)
	pressed      = regexp.MustCompile(`<(?:button|a class="button)[^>]*>([A-Z][^<]*)</`)
	label        = regexp.MustCompile(`<(?:th|dt|h1|h2|h3|label|legend|summary|button|option)\b[^>]*>([^<]*)`)
	action       = regexp.MustCompile(`\{\{.*?\}\}`)
)

// TestTheConsoleShowsCommandsThatThereAre with their flags.
func TestTheConsoleShowsCommandsThatThereAre(t *testing.T) {
	t.Parallel()
	app, n := commandLine(t), 0
	for file, page := range consolePages(t) {
		for _, m := range shownCommand.FindAllStringSubmatch(page, -1) {
			n++
			at := app.Node
			for _, word := range strings.Fields(action.ReplaceAllString(m[1], "x")) {
				if i := slices.IndexFunc(at.Children, func(c *kong.Node) bool { return c.Name == word }); i >= 0 {
					at = at.Children[i]
				} else if name, ok := strings.CutPrefix(word, "--"); ok {
					found := map[string]bool{}
					flags(at, found)
					require.True(t, found[name], "%s: fanmail %s: no flag --%s", file, m[1], name)
				} else {
					require.NotSame(t, app.Node, at, "%s: no command %q in fanmail %s", file, word, m[1])
					require.True(t, len(at.Children) == 0 || at.DefaultCmd != nil, "%s: fanmail %s: no command %q", file, m[1], word)
				}
			}
		}
	}
	require.Greater(t, n, 8)
}

// TestTheConsoleAndTheCommandSayTheSameWords for the things that both show and for what both do to them.
func TestTheConsoleAndTheCommandSayTheSameWords(t *testing.T) {
	t.Parallel()
	app, pages := commandLine(t), consolePages(t)
	nouns, verbs := map[string]bool{}, map[string]bool{}
	for _, c := range app.Children {
		nouns[c.Name] = true
		for _, v := range append([]*kong.Node{c}, c.Children...) {
			verbs[v.Name] = true
		}
	}
	// What the console alone has: each with the commands that show the same.
	own := map[string]string{"overview": "stats", "system": "status", "partitions": "webhooks", "replays": "replay"}
	labels := navLabel.FindAllStringSubmatch(pages["parts.html"], -1)
	require.Greater(t, len(labels), 10)
	for _, m := range labels {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		require.True(t, nouns[name] || nouns[own[name]], "the console's pages have %q, and no command is called so", m[1])
	}
	// Words of any form or page, which mean nothing of Fanmail's.
	plain := []string{
		"back", "cancel", "close", "copy", "count", "edit", "filter", "clear", "all", "no", "yes", "save", "search", "show", "sign", "look", "view", "new", "to",
		"download", "older", "change", "make", "find",
	}
	for file, page := range pages {
		for _, m := range pressed.FindAllStringSubmatch(page, -1) {
			first := strings.Trim(strings.ToLower(strings.Fields(m[1])[0]), ",")
			require.True(t, verbs[first] || nouns[first] || nouns[first+"s"] || slices.Contains(plain, first) || nouns[strings.ReplaceAll(strings.ToLower(m[1])+"s", " ", "-")],
				"%s: a button says %q, and no command is called so", file, m[1])
		}
	}
}

// TestTheConsoleSaysNoOtherWord for what docs/reference/words.md has a word for.
func TestTheConsoleSaysNoOtherWord(t *testing.T) {
	t.Parallel()
	words, err := os.ReadFile("../../docs/reference/words.md")
	require.NoError(t, err)
	for instead, word := range map[string]string{
		`subscri(ber|ption)s?`: "webhook", `endpoints?`: "webhook", `hooks?`: "webhook", `account`: "tenant", `customers?`: "tenant", `mailbox(es)?`: "agent", `inbox(es)?`: "agent",
		`tr(y|ies)`: "attempt", `resend|sent again`: "replay", `jobs?`: "delivery", `queue`: "lane", `body`: "envelope", `payloads?`: "envelope", `circuit`: "breaker", `suspended`: "paused",
		`shards?`: "partition", `notifications?`: "event",
	} {
		require.Contains(t, string(words), "| "+word+" |", "words.md explains it")
		wrong := regexp.MustCompile(`(?i)(^|[^a-z_-])` + instead + `([^a-z_-]|$)`)
		for file, page := range consolePages(t) {
			for _, m := range label.FindAllStringSubmatch(page, -1) {
				text := strings.TrimSpace(action.ReplaceAllString(m[1], ""))
				if word == "envelope" && strings.HasPrefix(strings.ToLower(text), "body,") || text == "Download the body" || strings.Contains(text, "body of every POST") {
					continue // the body of a request: the older envelopes are other bytes
				}
				require.False(t, wrong.MatchString(text), "%s: %q says another word for %q", file, text, word)
			}
		}
	}
}
