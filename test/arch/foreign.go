package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Foreign says which other modules a public package may import. The standard library is always allowed, and this module's
// own packages have rules of their own.
type Foreign struct {
	// Package is the directory; "." is the root package.
	Package string
	// Modules are module paths.
	Modules []string
	// Because is the reason. It is part of every breach.
	Because string
}

// checkForeign compares the imports of the public packages' non-test files with ForeignModules.
func checkForeign(f file) []string {
	i := slices.IndexFunc(ForeignModules, func(r Foreign) bool { return r.Package == f.dir })
	if i < 0 || f.test {
		return nil
	}
	rule := ForeignModules[i]
	var breaches []string
	for imported, line := range f.imports {
		if !foreign(imported) || slices.ContainsFunc(rule.Modules, func(m string) bool { return under(imported, m) }) {
			continue
		}
		breaches = append(breaches, fmt.Sprintf("%s:%d: the public package %s imports %s, but %s", f.name, line, f.dir, imported, rule.Because))
	}
	return breaches
}

// foreign reports whether an import path is neither the standard library's nor this module's.
func foreign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".") && !under(path, Module)
}
