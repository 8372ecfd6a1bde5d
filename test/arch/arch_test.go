package arch_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/arch"
)

func TestRepositoryKeepsTheRules(t *testing.T) {
	t.Parallel()
	breaches, err := arch.Check(os.DirFS("../.."))
	require.NoError(t, err)
	require.Empty(t, breaches, strings.Join(breaches, "\n"))
}

func TestEveryRuleHasAReasonAndNoCycle(t *testing.T) {
	t.Parallel()
	may := map[string][]string{}
	for _, r := range arch.Rules {
		require.NotEmpty(t, r.Because, r.Package)
		require.NotContains(t, may, r.Package, "named twice")
		may[r.Package] = r.May
	}
	var visit func(at string, path []string)
	visit = func(at string, path []string) {
		require.NotContains(t, path, at, "the rules allow a cycle")
		for _, next := range may[at] {
			require.Contains(t, may, next, "%s may import what no rule names", at)
			visit(next, append(path, at))
		}
	}
	for at := range may {
		visit(at, nil)
	}
}

func TestBreachesAreFound(t *testing.T) {
	t.Parallel()
	imports := func(pkg, path string) string {
		return "package " + pkg + "\n\nimport _ \"" + arch.Module + "/" + path + "\"\n"
	}
	for name, c := range map[string]struct {
		file, src, says string
	}{
		"events imports ours":                  {"events/id.go", imports("events", "outbox"), "events imports outbox"},
		"events imports its own child":         {"events/id.go", imports("events", "events/stream"), "events imports events/stream"},
		"signature imports ours":               {"subscribers/signature/s.go", imports("signature", "events"), "must not pull Fanmail in"},
		"outbox imports subscribers":           {"outbox/o.go", imports("outbox", "subscribers"), "outbox imports subscribers"},
		"subscribers import fanout":            {"subscribers/s.go", imports("subscribers", "fanout"), "subscribers imports fanout"},
		"fanout imports dispatch":              {"fanout/f.go", imports("fanout", "internal/dispatch"), "fanout imports internal/dispatch"},
		"dispatch imports fanout":              {"internal/dispatch/d.go", imports("dispatch", "fanout"), "internal/dispatch imports fanout"},
		"ingest imports subscribers":           {"internal/ingest/i.go", imports("ingest", "subscribers"), "internal/ingest imports subscribers"},
		"api imports dispatch":                 {"internal/api/a.go", imports("api", "internal/dispatch"), "internal/api imports internal/dispatch"},
		"api imports app":                      {"internal/api/a.go", imports("api", "internal/app"), "app stands above everything"},
		"app imports a command":                {"internal/app/a.go", imports("app", "cmd/fanmail"), "nothing imports a command"},
		"a test imports a command":             {"test/e2e/e_test.go", imports("e2e", "cmd/fanmail"), "nothing imports a command"},
		"a command imports the inside":         {"cmd/publisher/main.go", imports("main", "outbox"), "cmd/publisher imports outbox"},
		"code imports a test rig":              {"cmd/fanmail/main.go", imports("main", "test/sink"), "must not reach a binary"},
		"a package that no rule names":         {"mailer/m.go", "package mailer\n", "mailer: no rule"},
		"no doc.go":                            {"outbox/insert.go", "package outbox\n", "outbox: a package says in its doc.go"},
		"a name that says nothing":             {"events/utils/u.go", "package utils\n", `the name "utils"`},
		"a skip":                               {"outbox/o_test.go", "package outbox\nfunc x(t T) { t.Skip(\"\") }\n", "o_test.go:2: a test that can't run"},
		"a skip by another name":               {"outbox/o_test.go", "package outbox\nfunc x(tb T) { tb.SkipNow() }\n", "o_test.go:2: a test that can't run"},
		"a sleep in a test":                    {"outbox/o_test.go", "package outbox\nfunc x() { time.Sleep(1) }\n", "o_test.go:2: tests wait on a signal"},
		"work put off":                         {"outbox/o.go", "package outbox\n\n// TO" + "DO: later\n", "o.go:3: work put off"},
		"work put off in another module":       {"test/bench/main.go", "package main\n\n// FIX" + "ME\n", "main.go:3: work put off"},
		"a test rig imported by a sub-package": {"internal/stream/s.go", imports("stream", "test/natstest"), "must not reach a binary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			breaches, err := arch.Check(fstest.MapFS{c.file: {Data: []byte(c.src)}})
			require.NoError(t, err)
			require.Contains(t, strings.Join(breaches, "\n"), c.says)
		})
	}
}

func TestWhatTheRulesAllow(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{}
	for name, src := range map[string]string{
		"events/doc.go":             "// Package events.\npackage events\n",
		"events/id.go":              "package events\n\nimport _ \"time\"\n",
		"outbox/doc.go":             "// Package outbox.\npackage outbox\n",
		"outbox/insert.go":          "package outbox\n\nimport _ \"" + arch.Module + "/events\"\n\nfunc x() { time.Sleep(1); a.Skip() }\n",
		"outbox/insert_test.go":     "package outbox_test\n\nimport (\n_ \"" + arch.Module + "/outbox\"\n_ \"" + arch.Module + "/test/pgtest\"\n_ \"" + arch.Module + "/subscribers\"\n)\n",
		"cmd/fanmail/main.go":       "package main\n\nimport _ \"" + arch.Module + "/internal/app\"\n",
		"test/sink/sink.go":         "package sink\n\nimport _ \"" + arch.Module + "/subscribers/signature\"\n",
		"outbox/testdata/broken.go": "not Go",
		".hidden/utils.go":          "package utils\n",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(src)}
	}
	breaches, err := arch.Check(tree)
	require.NoError(t, err)
	require.Empty(t, breaches)
}

func TestUnparsableFileIsAnError(t *testing.T) {
	t.Parallel()
	_, err := arch.Check(fstest.MapFS{"outbox/o.go": {Data: []byte("not Go")}})
	require.Error(t, err)
}
