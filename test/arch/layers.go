package arch

import (
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// Layered are the packages whose files form layers: if a file uses what another declares, nothing in the other uses what
// the first declares, directly or through further files. Such a package can be read from the bottom up.
var Layered = []string{
	".", "cmd/fanmail", "deploy/migrations", "deploy/postgres", "events", "events/email", "events/operational",
	"events/schema", "fanout", "internal/activity", "internal/agentwebhook", "internal/alertmail", "internal/api", "internal/apiclient", "internal/app", "internal/assistant", "internal/attempt",
	"internal/capacity", "internal/console", "internal/devserver", "internal/devserver/freeport", "internal/dispatch",
	"internal/dispatch/scheduler", "internal/domaincheck", "internal/engine", "internal/erasure", "internal/eventschema", "internal/eventtype", "internal/faults", "internal/ingest", "internal/input", "internal/keyring", "internal/mailauth", "internal/mailparse", "internal/milter", "internal/operator", "internal/openid", "internal/opevents", "internal/pg",
	"internal/relay", "internal/replay", "internal/retention", "internal/setting", "internal/stream", "internal/telemetry", "internal/telemetry/export", "internal/tenancy",
	"internal/tracecontext", "internal/usage", "outbox", "subscribers", "subscribers/signature",
}

// Layers finds the cycles among the files of one package, which must be type-checked together with info. The result has a
// line for each group of files that use each other, with an example of a use for each arrow inside it.
func Layers(pkg *types.Package, files []*ast.File, info *types.Info, name func(*ast.File) string, fileOf func(types.Object) string) []string {
	uses := map[string]map[string]string{} // from → to → an example
	for _, f := range files {
		from := name(f)
		uses[from] = map[string]string{}
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			used := info.Uses[id]
			if used == nil || used.Pkg() != pkg || local(pkg, used) {
				return true
			}
			to := fileOf(used)
			if _, known := uses[from][to]; to != from && !known {
				uses[from][to] = used.Name()
			}
			return true
		})
	}
	var breaches []string
	for _, group := range cycles(uses) {
		var arrows []string
		for _, from := range group {
			for _, to := range slices.Sorted(maps.Keys(uses[from])) {
				if slices.Contains(group, to) {
					arrows = append(arrows, fmt.Sprintf("%s → %s (%s)", from, to, uses[from][to]))
				}
			}
		}
		breaches = append(breaches, fmt.Sprintf("%s: these files use each other: %s", pkg.Path(), strings.Join(arrows, ", ")))
	}
	return breaches
}

// local reports whether an object is declared inside a function. Fields and methods are not.
func local(pkg *types.Package, o types.Object) bool {
	switch o := o.(type) {
	case *types.Var:
		return !o.IsField() && o.Parent() != pkg.Scope()
	case *types.Func:
		return false
	}
	return o.Parent() != pkg.Scope()
}

// cycles returns the strongly connected components of more than one node, sorted (Tarjan's algorithm).
func cycles(arrows map[string]map[string]string) [][]string {
	var (
		found [][]string
		stack []string
		index = map[string]int{}
		low   = map[string]int{}
		visit func(string)
	)
	visit = func(at string) {
		index[at], low[at] = len(index)+1, len(index)+1
		stack = append(stack, at)
		for _, to := range slices.Sorted(maps.Keys(arrows[at])) {
			if index[to] == 0 {
				visit(to)
				low[at] = min(low[at], low[to])
			} else if slices.Contains(stack, to) {
				low[at] = min(low[at], index[to])
			}
		}
		if low[at] != index[at] {
			return
		}
		i := slices.Index(stack, at)
		group := slices.Sorted(slices.Values(stack[i:]))
		stack = stack[:i]
		if len(group) > 1 {
			found = append(found, group)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(arrows)) {
		if index[at] == 0 {
			visit(at)
		}
	}
	return found
}
