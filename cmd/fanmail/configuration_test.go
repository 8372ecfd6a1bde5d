package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
)

var update = flag.Bool("update", false, "write docs/reference/configuration.md from the commands' flags")

const (
	configurationPage = "../../docs/reference/configuration.md"
	processesHead     = "| variable | flag | default | processes | what |\n|---|---|---|---|---|\n"
	commandsHead      = "| variable | flag | default | commands | what |\n|---|---|---|---|---|\n"
)

// setting is one flag with an environment variable.
type setting struct {
	env, flag, fallback string
	users               []string // processes or commands
	meanings            []meaning
}

// meaning is a help text of a setting, and the processes or commands whose flags have it.
type meaning struct {
	help  string
	users []string
}

// TestSettingsAreDocumented compares the two tables of the page with the flags
// of the processes and of the CLI.
func TestSettingsAreDocumented(t *testing.T) {
	t.Parallel()
	processes := map[string]*setting{}
	for _, p := range []struct {
		name, httpAddr string
		grammar        any
	}{
		{"publisher", "127.0.0.1:9101", &app.PublisherConfig{}},
		{"dispatcher", "127.0.0.1:9102", &app.DispatcherConfig{}},
		{"ingest", "127.0.0.1:9103", &app.IngestConfig{}},
		{"api", "127.0.0.1:9104", &app.APIConfig{}},
	} {
		k, err := kong.New(p.grammar, kong.Vars{"version": "", "http_addr": p.httpAddr})
		require.NoError(t, err)
		collect(k.Model.Node, p.name, processes)
	}
	require.Contains(t, processes, "FANMAIL_SLOTS")

	commands := map[string]*setting{}
	k, err := kong.New(&cli{}, kong.Vars{"version": ""})
	require.NoError(t, err)
	collect(k.Model.Node, "all", commands)
	for _, c := range k.Model.Leaves(true) {
		name, _, _ := strings.Cut(strings.TrimPrefix(c.FullPath(), k.Model.Name+" "), " ")
		collect(c, name, commands)
	}
	require.Contains(t, commands, "FANMAIL_KEY")

	for head, table := range map[string]string{processesHead: rows(processes), commandsHead: rows(commands)} {
		page, err := os.ReadFile(configurationPage)
		require.NoError(t, err)
		before, after, found := strings.Cut(string(page), head)
		require.True(t, found, "%s has no table with the head %q", configurationPage, head)
		old, rest, _ := strings.Cut(after, "\n\n")
		if *update {
			require.NoError(t, os.WriteFile(configurationPage, []byte(before+head+table+"\n"+rest), 0o600))
			continue
		}
		require.Equal(t, table, old+"\n", "write the page with: go test ./cmd/fanmail -run TestSettingsAreDocumented -update")
	}
}

// collect adds a node's own flags that have an environment variable.
func collect(n *kong.Node, user string, to map[string]*setting) {
	for _, f := range n.Flags {
		for _, env := range f.Envs {
			s := to[env]
			if s == nil {
				s = &setting{env: env, flag: f.Name, fallback: f.Default}
				to[env] = s
			}
			if s.fallback != f.Default && !strings.Contains(s.fallback, f.Default) {
				s.fallback += ", " + f.Default
			}
			s.users = append(s.users, user)
			i := slices.IndexFunc(s.meanings, func(m meaning) bool { return m.help == f.Help })
			if i < 0 {
				i = len(s.meanings)
				s.meanings = append(s.meanings, meaning{help: f.Help})
			}
			s.meanings[i].users = append(s.meanings[i].users, user)
		}
	}
}

// what is the text of the last column. A setting that means one thing to some processes and another to others has each.
func (s *setting) what() string {
	if len(s.meanings) == 1 {
		return s.meanings[0].help
	}
	texts := make([]string, len(s.meanings))
	for i, m := range s.meanings {
		texts[i] = eachOnce(m.users) + ": " + m.help
	}
	slices.Sort(texts)
	return strings.Join(texts, "<br>")
}

// eachOnce lists each name once, in alphabetical order.
func eachOnce(users []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(users))), ", ")
}

// rows gives the lines of a table, by name of the variable.
func rows(settings map[string]*setting) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		s := settings[name]
		fallback := s.fallback
		if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | %s | %s | %s |\n", s.env, s.flag, fallback, eachOnce(s.users), s.what())
	}
	return b.String()
}
