package arch

import (
	"fmt"
	"go/ast"
)

// The limits of size. A longer file has a second noun in it, and a longer function a second step.
const (
	MaxFileLines = 499
	MaxFuncLines = 59
)

// checkSizes measures files and functions outside tests. Nobody reads what a program has written.
func checkSizes(f file) []string {
	if f.test || ast.IsGenerated(f.ast) {
		return nil
	}
	var breaches []string
	if lines := f.fset.File(f.ast.Pos()).LineCount(); lines > MaxFileLines {
		breaches = append(breaches, fmt.Sprintf("%s: %d lines, more than %d: look for the second noun in it", f.name, lines, MaxFileLines))
	}
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if lines := f.fset.Position(fn.End()).Line - f.line(fn) + 1; lines > MaxFuncLines {
			breaches = append(breaches, fmt.Sprintf("%s:%d: %s has %d lines, more than %d", f.name, f.line(fn), fn.Name.Name, lines, MaxFuncLines))
		}
	}
	return breaches
}
