package setting

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A text that a program which embeds Fanmail can see names no variable: it is written in a file that uses Named, and
// Named knows all of its variables. The exception is the variable itself that the tests' faults are armed with.
func TestTextsForProgramsNameNoVariable(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{.Dir}}{{end}}", "../..").Output()
	require.NoError(t, err)
	texts := 0
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(path, "github.com/fanmail-dev/fanmail") || strings.HasSuffix(path, "internal/setting") || strings.HasSuffix(path, "internal/faults") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			require.NoError(t, err)
			imports := map[string]bool{}
			for _, i := range f.Imports {
				imports[i.Path.Value] = true
			}
			ast.Inspect(f, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING || !strings.Contains(l.Value, "FANMAIL_") {
					return true
				}
				text, err := strconv.Unquote(l.Value)
				require.NoError(t, err)
				texts++
				require.True(t, imports[`"github.com/fanmail-dev/fanmail/internal/setting"`], "%s: %s", name, text)
				require.NotContains(t, options.Replace(text), "FANMAIL_", name)
				require.NotContains(t, options.Replace(text), "--", name)
				return true
			})
		}
	}
	require.Greater(t, texts, 15)
}

func TestAProcessNamesItsVariables(t *testing.T) {
	text := "plain http is off (FANMAIL_ALLOW_HTTP)"
	require.Equal(t, "plain http is off (Config.AllowHTTP)", Named(text))
	FromEnvironment()
	t.Cleanup(func() { fromEnvironment.Store(false) })
	require.Equal(t, text, Named(text))
}
