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

	"github.com/fanmail-dev/fanmail/internal/app"
)

// TestPagesNameCommandsAndFlagsThatThereAre checks the code of pages: the words
// after "fanmail", and flags that stand alone, such as `--slots`.
func TestPagesNameCommandsAndFlagsThatThereAre(t *testing.T) {
	t.Parallel()
	model := func(grammar any) *kong.Application {
		k, err := kong.New(grammar, kong.Vars{"version": "", "http_addr": ""})
		require.NoError(t, err)
		return k.Model
	}
	cli := model(&cli{})
	known := map[string]bool{}
	for _, grammar := range []any{&app.PublisherConfig{}, &app.DispatcherConfig{}, &app.IngestConfig{}, &app.APIConfig{}} {
		flags(model(grammar).Node, known)
	}
	all := func(n *kong.Node) map[string]bool {
		found := map[string]bool{}
		flags(n, found)
		return found
	}
	commands, alone := 0, 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md", "../../docs/explanation/decisions/*.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile("(?m)(?:`|^)(?:bin/|\\./)?fanmail ([a-z][^`|#\n]*)").FindAllStringSubmatch(string(b), -1) {
				at := cli.Node
				for _, word := range strings.Fields(m[1]) {
					if i := slices.IndexFunc(at.Children, func(n *kong.Node) bool { return n.Name == word || slices.Contains(n.Aliases, word) }); i >= 0 {
						at = at.Children[i]
						continue
					}
					require.NotSame(t, cli.Node, at, "%s: no command %q in %q", f, word, m[1])
					if name, ok := strings.CutPrefix(word, "--"); ok {
						name, _, _ = strings.Cut(name, "=")
						require.True(t, all(at)[name] || all(cli.Node)[name], "%s: fanmail %s: no flag --%s", f, m[1], name)
					} else {
						require.True(t, len(at.Children) == 0 || at.DefaultCmd != nil, "%s: fanmail %s: no command %q", f, m[1], word)
					}
				}
				commands++
			}
			if slices.Contains([]string{"performance.md", "reliability.md"}, filepath.Base(f)) {
				continue // their flags belong to the benchmark and to the chaos test
			}
			for _, m := range regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(string(b), -1) {
				alone++
				require.True(t, known[m[1]] || every(cli.Node)[m[1]], "%s: nothing has a flag --%s", f, m[1])
			}
		}
	}
	require.Greater(t, commands, 50)
	require.Greater(t, alone, 3)
}

// flags adds the flags of a command, of its parents and of its default
// subcommand.
func flags(n *kong.Node, to map[string]bool) {
	if n.DefaultCmd != nil {
		n = n.DefaultCmd
	}
	for ; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			to[f.Name] = true
			if f.Tag.Negatable != "" {
				to["no-"+f.Name] = true
			}
		}
	}
}

// every returns the flags of all commands.
func every(n *kong.Node) map[string]bool {
	found := map[string]bool{}
	flags(n, found)
	for _, child := range n.Children {
		for name := range every(child) {
			found[name] = true
		}
	}
	return found
}
