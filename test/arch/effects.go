package arch

import (
	"fmt"
	"go/ast"
)

// effects are the calls that only a command may make, by package and function.
var effects = map[string]map[string]string{
	"os": {
		"Exit":   "only a command may end the process",
		"Getenv": environment, "LookupEnv": environment, "Environ": environment, "ExpandEnv": environment,
		"Setenv": environment, "Unsetenv": environment, "Clearenv": environment,
	},
	"log": {
		"Fatal": "only a command may end the process", "Fatalf": "only a command may end the process", "Fatalln": "only a command may end the process",
	},
}

const environment = "only cmd/ and internal/app may use the environment: an importer's program has its own"

// checkEffects finds what importing a package would do to a program: an init function, and calls that end the process or
// use its environment. Commands, internal/app and the tests may do both.
func checkEffects(f file) []string {
	if f.test || under(f.dir, "cmd") || under(f.dir, "test") || f.dir == "internal/app" {
		return nil
	}
	var breaches []string
	add := func(n ast.Node, what string) {
		breaches = append(breaches, fmt.Sprintf("%s:%d: %s", f.name, f.line(n), what))
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				add(d, "an init function runs in every program that imports the package: let the caller call it")
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				v, ok := s.(*ast.ValueSpec)
				if ok && len(v.Values) == 1 && v.Names[0].Name == "_" {
					if _, call := v.Values[0].(*ast.CallExpr); call && !conversion(v.Values[0]) {
						add(v, "a call in a variable without a name runs in every program that imports the package")
					}
				}
			}
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if pkg, name := f.selector(n); pkg != "" {
			if because, ok := effects[pkg][name]; ok {
				add(n, fmt.Sprintf("%s.%s, but %s", pkg, name, because))
			}
		}
		return true
	})
	return breaches
}

// conversion reports whether a call has the form (*T)(x), as in an assertion that T implements an interface.
func conversion(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	_, paren := call.Fun.(*ast.ParenExpr)
	return paren
}
