package main

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// methods are the verbs of commands, and of operations of the API, with the method that each stands for.
var methods = map[string]string{
	"list": http.MethodGet, "get": http.MethodGet, "find": http.MethodGet, "watch": http.MethodGet, "poll": http.MethodGet, "export": http.MethodGet,
	"create": http.MethodPost, "start": http.MethodPost, "rotate": http.MethodPost, "retry": http.MethodPost, "test": http.MethodPost, "ack": http.MethodPost,
	"verify": http.MethodPost, "deliver": http.MethodPost, "redeliver": http.MethodPost, "restore": http.MethodPost, "preview": http.MethodPost,
	"update": http.MethodPatch, "change": http.MethodPatch, "enable": http.MethodPatch, "disable": http.MethodPatch, "pause": http.MethodPatch, "resume": http.MethodPatch,
	"delete": http.MethodDelete, "revoke": http.MethodDelete, "cancel": http.MethodDelete,
	"tail": http.MethodGet, "alerts": http.MethodPatch,
}

// elsewhere are commands that call the API and are named after what they do for people.
var elsewhere = []string{"console", "listen", "mcp", "top"}

// TestCommandsAndTheAPIUseTheSameWords: the noun of a command is a resource of the API, and its verb has the method that
// this verb has everywhere. The calls are those of the commands' examples.
func TestCommandsAndTheAPIUseTheSameWords(t *testing.T) {
	t.Parallel()
	dir := up(t)
	r := record(t, dir)
	resources, parts, operations := map[string]bool{}, map[string]bool{}, 0
	for path, item := range document(t).Paths {
		for method, op := range item {
			verb, _, _ := strings.Cut(op.OperationID, "-")
			require.Equal(t, methods[verb], strings.ToUpper(method), "the operation %s: %q is not the word for it", op.OperationID, verb)
			operations++
		}
		words := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
		resources[words[0]] = true
		for _, w := range words[1:] {
			parts[w] = true
		}
	}
	require.Greater(t, operations, 40)
	calls := 0
	for name, n := range leaves(t) {
		if !callsAPI(n) || slices.Contains(elsewhere, name) {
			continue
		}
		top := n
		for top.Parent.Parent != nil {
			top = top.Parent
		}
		require.True(t, resources[top.Name] || slices.ContainsFunc(top.Aliases, func(a string) bool { return resources[a] }), "fanmail %s: no resource of the API is called %q", name, top.Name)
		if n == top || parts[n.Name] && methods[n.Name] == "" || slices.Contains(endless, name) {
			continue // it shows what the noun says
		}
		require.NotEmpty(t, methods[n.Name], "fanmail %s: %q is neither a verb nor a part of a resource", name, n.Name)
		for _, line := range examples(n) {
			r.taken()
			_, _ = fanmail(t, dir, "{}", append(split(line)[1:], "--api", r.url)...)
			made := r.taken()
			require.NotEmpty(t, made, line)
			// An update may read first, and a command that ends with an object may show it.
			require.True(t, slices.ContainsFunc(made, func(c request) bool { return c.method == methods[n.Name] }) || made[0].method == http.MethodGet && methods[n.Name] == http.MethodPatch,
				"%s: calls %v, and %q stands for %s", line, made, n.Name, methods[n.Name])
			calls++
		}
	}
	require.Greater(t, calls, 40)
}

// TestReplacedWordsAreNotUsed in help texts, in the API's document, in metrics and in pages. The table of
// docs/reference/words.md has them.
func TestReplacedWordsAreNotUsed(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/reference/words.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(b), "| not | but |\n|---|---|\n")
	require.True(t, found)
	replaced := map[string]*regexp.Regexp{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		for word := range strings.SplitSeq(cells[1], ",") {
			word = strings.TrimSpace(word)
			replaced[word] = regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(word) + `s?\b`)
		}
	}
	require.Greater(t, len(replaced), 5)
	texts := map[string]string{}
	for _, pattern := range []string{"../../internal/api/openapi.json", "../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			if b, err = os.ReadFile(f); filepath.Base(f) != "words.md" && filepath.Base(f) != "CHANGELOG.md" {
				require.NoError(t, err)
				texts[f] = string(b)
			}
		}
	}
	for name := range leaves(t) {
		texts["fanmail "+name+" --help"] = help(t, strings.Fields(name)...)
	}
	for _, where := range slices.Sorted(maps.Keys(texts)) {
		for word, is := range replaced {
			for line := range strings.Lines(texts[where]) {
				require.False(t, is.MatchString(line), "%s has %q, see docs/reference/words.md: %s", where, word, line)
			}
		}
	}
	require.True(t, replaced["notification"].MatchString("Notifications."))
}

// help returns the help of a command.
func help(t *testing.T, command ...string) string {
	t.Helper()
	var out bytes.Buffer
	k, err := kong.New(&cli{}, kong.Name("fanmail"), kong.Vars{"version": ""}, kong.Help(printHelp), kong.Writers(&out, &out), kong.Exit(func(int) {}))
	require.NoError(t, err)
	_, _ = k.Parse(append(command, "--help"))
	return out.String()
}
