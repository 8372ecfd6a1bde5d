package arch

import (
	"fmt"
	"go/ast"
	"slices"
)

// Scheduler is the directory of the pure scheduler.
const Scheduler = "internal/dispatch/scheduler"

// schedulerImports are all that the scheduler may import. What is not here reaches a database, a broker, a network, a
// clock, a metric or another goroutine.
var schedulerImports = []string{
	"cmp", "container/heap", "container/list", "errors", "fmt", "iter", "maps", "math", "math/bits", "math/rand/v2", "slices", "sort",
	"strconv", "strings", "time", "unsafe", "hash/maphash", "encoding/binary",
	"golang.org/x/time/rate", Module + "/events",
}

// clock are the functions of package time that read the clock or wait.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

const pure = "the scheduler is pure: events and a time go in, commands come out"

// checkPurity finds what the scheduler must not do.
func checkPurity(f file) []string {
	if f.test || !under(f.dir, Scheduler) {
		return nil
	}
	var breaches []string
	for imported, line := range f.imports {
		if !slices.Contains(schedulerImports, imported) {
			breaches = append(breaches, fmt.Sprintf("%s:%d: imports %s, but %s", f.name, line, imported, pure))
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if pkg, name := f.selector(n); pkg == "time" && slices.Contains(clock, name) {
			breaches = append(breaches, fmt.Sprintf("%s:%d: time.%s, but %s", f.name, f.line(n), name, pure))
		}
		switch n.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			breaches = append(breaches, fmt.Sprintf("%s:%d: concurrency, but %s", f.name, f.line(n), pure))
		}
		return true
	})
	return breaches
}
