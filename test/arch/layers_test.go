package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/arch"
)

// layers type-checks the files of a package and finds their cycles.
func layers(t *testing.T, importPath string, sources map[string]string, imports types.Importer) []string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for name, src := range sources {
		f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{Importer: imports}).Check(importPath, fset, files, info)
	require.NoError(t, err)
	file := func(p token.Pos) string { return fset.Position(p).Filename }
	return arch.Layers(pkg, files, info,
		func(f *ast.File) string { return file(f.Pos()) }, func(o types.Object) string { return file(o.Pos()) })
}

// listed is what `go list -export` says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// list returns packages of this module with all that they import, compiled as deploy/build.sh does.
func list(t *testing.T, packages ...string) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}, packages...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[p.ImportPath] = p
	}
}

func TestFilesFormLayers(t *testing.T) {
	t.Parallel()
	var packages []string
	for _, dir := range arch.Layered {
		packages = append(packages, "./"+dir)
	}
	all := list(t, packages...)
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(all[path].Export)
	})
	var cycles []string
	for _, dir := range arch.Layered {
		p := all[path.Join(arch.Module, dir)]
		require.NotEmpty(t, p.GoFiles, dir)
		sources := map[string]string{}
		for _, f := range p.GoFiles {
			sources[f] = read(t, filepath.Join(p.Dir, f))
		}
		cycles = append(cycles, layers(t, p.ImportPath, sources, imports)...)
	}
	require.Empty(t, cycles, strings.Join(cycles, "\n"))
}

func TestACycleOfFilesIsFound(t *testing.T) {
	t.Parallel()
	bottom := "package p\n\ntype T struct{ n int }\n\nfunc (t T) M() int { return t.n }\n"
	for name, c := range map[string]struct {
		sources map[string]string
		want    []string
	}{
		"layers": {map[string]string{"a.go": bottom, "b.go": "package p\n\nfunc f(t T) int { return t.M() }\n"}, nil},
		"a function calls back up": {
			map[string]string{"a.go": bottom + "\nfunc g() { f(T{}) }\n", "b.go": "package p\n\nfunc f(t T) int { return t.M() }\n"},
			[]string{"p: these files use each other: a.go → b.go (f), b.go → a.go (T)"},
		},
		"a field and a method, whose types the files do not name": {
			map[string]string{
				"a.go": "package p\n\nvar A = B.up()\n\ntype S struct{ n int }\n",
				"b.go": "package p\n\nvar B U\n\ntype U struct{}\n\nfunc (U) up() int { return C.n }\n",
				"c.go": "package p\n\nvar C S\n",
			},
			[]string{"p: these files use each other: a.go → b.go (B), b.go → a.go (n), b.go → c.go (C), c.go → a.go (S)"},
		},
	} {
		got := layers(t, "p", c.sources, nil)
		slices.Sort(got)
		require.Equal(t, c.want, got, name)
	}
}
