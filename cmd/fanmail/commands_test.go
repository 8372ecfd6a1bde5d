package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

const commandsList = "testdata/commands.txt"

// TestCommandsAreListed compares a list of all commands with their arguments and flags, which test/compat compares with
// that of the last release. A line begins with the command; "must have" is what the command does not run without.
func TestCommandsAreListed(t *testing.T) {
	t.Parallel()
	k, err := kong.New(&cli{}, kong.Name("fanmail"), kong.Vars{"version": ""})
	require.NoError(t, err)
	lines := commandLines(k.Model.Node, "fanmail")
	require.Greater(t, len(lines), 300)
	have := strings.Join(lines, "\n") + "\n"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(commandsList, []byte(have), 0o600))
	}
	want, err := os.ReadFile(commandsList)
	require.NoError(t, err)
	require.Equal(t, string(want), have, "write the list with: go test ./cmd/fanmail -run TestCommandsAreListed -update")
}

func TestManualPagesSayHowTheirProgramIsCalled(t *testing.T) {
	t.Parallel()
	k, err := kong.New(&cli{}, kong.Name("fanmail"), kong.Vars{"version": ""})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, (&manCmd{Dir: dir}).Run(k))
	for page, want := range map[string]string{"fanmail.1": "fanmail <command> [flags]", "fanmail-ingest.8": "ingest [flags]", "fanmail-api.8": "api [flags]"} {
		b, err := os.ReadFile(filepath.Join(dir, page))
		require.NoError(t, err)
		require.Contains(t, string(b), ".SH SYNOPSIS\n.B "+want+"\n", page)
	}
}

// commandLines lists a command and those below it. The names of arguments are for people, so they have numbers.
func commandLines(n *kong.Node, path string) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, path+": "+fmt.Sprintf(format, args...)) }
	if n.Leaf() {
		say("runs")
	} else if n.DefaultCmd != nil {
		say("runs %s", n.DefaultCmd.Name)
	}
	for _, a := range n.Aliases {
		say("alias %s", a)
	}
	for i, p := range n.Positional {
		argument := fmt.Sprintf("argument %d", i+1)
		say("%s", argument)
		if p.IsCumulative() {
			say("%s repeats", argument)
		}
		lines = append(lines, valueLines(path, argument, p)...)
	}
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		flag := "--" + f.Name
		say("%s", flagForm(f, f.Name))
		for _, a := range f.Aliases {
			say("%s", flagForm(f, a))
		}
		if f.Short != 0 {
			say("-%c", f.Short)
		}
		if f.Tag.Negatable != "" {
			say("--no-%s", f.Name)
		}
		lines = append(lines, valueLines(path, flag, f.Value)...)
	}
	slices.Sort(lines)
	for _, child := range n.Children {
		if !child.Hidden {
			lines = append(lines, commandLines(child, path+" "+child.Name)...)
		}
	}
	return lines
}

// flagForm ends with "=" if the flag takes a value.
func flagForm(f *kong.Flag, name string) string {
	if f.IsBool() || f.IsCounter() {
		return "--" + name
	}
	return "--" + name + "="
}

// valueLines lists what an argument or a flag takes, and whether the command needs it.
func valueLines(path, name string, v *kong.Value) (lines []string) {
	if v.Required && !v.HasDefault {
		lines = append(lines, path+": must have "+name)
	}
	if v.Enum != "" {
		for _, value := range v.EnumSlice() {
			lines = append(lines, fmt.Sprintf("%s: %s may be %q", path, name, value))
		}
	}
	return lines
}
