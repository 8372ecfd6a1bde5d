package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/fanmail-dev/fanmail"

// file is what the rules need to know of a Go file.
type file struct {
	name    string // its path in the tree
	dir     string
	pkg     string // the name in the package clause, without "_test"
	test    bool
	imports map[string]int    // import path → line
	skips   []int             // lines that call Skip, Skipf or SkipNow
	sleeps  []int             // lines that call time.Sleep
	later   []int             // lines with a comment that puts work off
	names   map[string]string // the name of an imported package in this file → its import path
	ast     *ast.File
	fset    *token.FileSet
}

// line is where a node begins.
func (f file) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

// selector returns the import path and the name of a node such as os.Exit; "" if the node is none.
func (f file) selector(n ast.Node) (path, name string) {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	on, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return f.names[on.Name], sel.Sel.Name
}

// load reads every Go file of the tree, other modules' inside it too, but no
// testdata and nothing hidden.
func load(tree fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			return skipDir(name)
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := read(name, src)
		files = append(files, f)
		return err
	})
	return files, err
}

// skipDir is fs.SkipDir for a directory whose files no rule is about.
func skipDir(name string) error {
	base := path.Base(name)
	if name != "." && (base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
		return fs.SkipDir
	}
	return nil
}

func read(name string, src []byte) (file, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, fmt.Errorf("parse: %w", err)
	}
	f := file{
		name: name, dir: path.Dir(name), pkg: strings.TrimSuffix(parsed.Name.Name, "_test"),
		test: strings.HasSuffix(name, "_test.go"), imports: map[string]int{}, names: map[string]string{}, ast: parsed, fset: fset,
	}
	line := func(p token.Pos) int { return fset.Position(p).Line }
	for _, spec := range parsed.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			f.imports[p] = line(spec.Pos())
			local := path.Base(p)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			f.names[local] = p
		}
	}
	for _, group := range parsed.Comments {
		for _, c := range group.List {
			if putsOff(c.Text) {
				f.later = append(f.later, line(c.Pos()))
			}
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		on, _ := sel.X.(*ast.Ident)
		switch sel.Sel.Name {
		case "Skip", "Skipf", "SkipNow":
			f.skips = append(f.skips, line(call.Pos()))
		case "Sleep":
			if on != nil && on.Name == "time" {
				f.sleeps = append(f.sleeps, line(call.Pos()))
			}
		}
		return true
	})
	return f, nil
}

// putsOff finds the usual words, spelt in two halves here so that this file
// doesn't hold them.
func putsOff(comment string) bool {
	for _, word := range []string{"TO" + "DO", "FIX" + "ME", "X" + "XX"} {
		if strings.Contains(comment, word) {
			return true
		}
	}
	return false
}
