package arch

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Check reads the Go files of a tree, whose root is the module's. It returns one sorted line for each
// breach of a rule. A file that does not parse is an error.
func Check(tree fs.FS) ([]string, error) {
	files, err := load(tree)
	if err != nil {
		return nil, err
	}
	var breaches []string
	for _, f := range files {
		breaches = append(breaches, checkImports(f)...)
		for _, check := range []func(file) []string{checkContents, checkForeign, checkEffects, checkPurity, checkSizes, checkSQL} {
			breaches = append(breaches, check(f)...)
		}
	}
	breaches = append(breaches, checkDocs(files)...)
	breaches = append(breaches, checkCodecs(files)...)
	slices.Sort(breaches)
	return slices.Compact(breaches), nil
}

func checkImports(f file) []string {
	var breaches []string
	breach := func(imported, because string) {
		breaches = append(breaches, fmt.Sprintf("%s:%d: %s imports %s, but %s", f.name, f.imports[Module+"/"+imported], f.dir, imported, because))
	}
	rule, known := ruleFor(f.dir)
	if !known {
		return []string{fmt.Sprintf("%s: no rule of test/arch names the package: say there what it may import, and why", f.dir)}
	}
	for imported := range f.imports {
		target, ours := strings.CutPrefix(imported, Module+"/")
		if !ours || target == f.dir {
			continue
		}
		inTests, toTests := f.test || under(f.dir, "test"), under(target, "test")
		switch {
		case under(target, "cmd"):
			breach(target, "nothing imports a command")
		case target == "internal/app" && !inTests && f.dir != "internal/app" && !under(f.dir, "cmd"):
			breach(target, "app stands above everything but the commands")
		case toTests && !inTests:
			breach(target, "what serves tests must not reach a binary")
		case inTests:
			// Tests see both ends: they may start what they need.
		case !slices.Contains(rule.May, target):
			breach(target, rule.Because)
		}
	}
	return breaches
}

// ruleFor finds the rule of a directory. Test packages may import anything but commands.
func ruleFor(dir string) (Rule, bool) {
	if under(dir, "test") {
		return Rule{Package: dir}, true
	}
	for _, r := range Rules {
		if parent, all := strings.CutSuffix(r.Package, "/*"); r.Package == dir || all && under(dir, parent) {
			return r, true
		}
	}
	return Rule{}, false
}

func under(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

func checkContents(f file) []string {
	var breaches []string
	add := func(lines []int, what string) {
		for _, l := range lines {
			breaches = append(breaches, fmt.Sprintf("%s:%d: %s", f.name, l, what))
		}
	}
	if f.test {
		add(f.skips, "a test that can't run here should fail or not exist")
	}
	if f.test {
		add(f.sleeps, "tests wait on a signal, or ask with require.Eventually; they never sleep")
	}
	add(f.later, "work put off belongs into the issue tracker, not into a comment")
	if slices.Contains(ForbiddenNames, f.pkg) {
		breaches = append(breaches, fmt.Sprintf("%s: the name %q says nothing about what is inside", f.dir, f.pkg))
	}
	return breaches
}

// checkDocs requires a doc.go in every package except commands and packages of tests alone.
func checkDocs(files []file) []string {
	code, docs := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		switch {
		case f.test || f.pkg == "main":
		case f.name == path.Join(f.dir, "doc.go"):
			docs[f.dir] = true
		default:
			code[f.dir] = true
		}
	}
	var breaches []string
	for dir := range code {
		// A package under test/ may have its doc in its one file.
		if !docs[dir] && !under(dir, "test") {
			breaches = append(breaches, dir+": a package says in its doc.go what it guarantees")
		}
	}
	return breaches
}
