package arch_test

import (
	"os"
	"os/exec"
	"slices"
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
	for _, f := range arch.ForeignModules {
		require.NotEmpty(t, f.Because, f.Package)
	}
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
	foreign := func(pkg, path string) string { return "package " + pkg + "\n\nimport _ \"" + path + "\"\n" }
	imports := func(pkg, path string) string { return foreign(pkg, arch.Module+"/"+path) }
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

		"events imports a foreign module":      {"events/id.go", foreign("events", "github.com/jackc/pgx/v5"), "the standard library alone"},
		"signature imports a foreign module":   {"subscribers/signature/s.go", foreign("signature", "golang.org/x/crypto/hkdf"), "the standard library alone"},
		"outbox imports more than a driver":    {"outbox/o.go", foreign("outbox", "go.uber.org/zap"), "the public package outbox imports go.uber.org/zap"},
		"the root imports a framework":         {"fanmail.go", foreign("fanmail", "github.com/alecthomas/kong"), "chooses its own framework"},
		"an init function":                     {"internal/pg/p.go", "package pg\n\nfunc init() { prometheus.MustRegister() }\n", "p.go:3: an init function"},
		"a registration without init":          {"internal/pg/p.go", "package pg\n\nvar _ = register()\n", "p.go:3: a call in a variable without a name"},
		"a library that exits":                 {"internal/pg/p.go", "package pg\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n", "p.go:5: os.Exit, but only a command"},
		"a library that reads the environment": {"outbox/o.go", "package outbox\n\nimport \"os\"\n\nvar x = os.Getenv(\"X\")\n", "os.Getenv, but only cmd/ and internal/app"},
		"the same by another name":             {"outbox/o.go", "package outbox\n\nimport sys \"os\"\n\nvar x, _ = sys.LookupEnv(\"X\")\n", "os.LookupEnv, but"},
		"the scheduler imports the database":   {"internal/dispatch/scheduler/s.go", foreign("scheduler", "github.com/jackc/pgx/v5"), "the scheduler is pure"},
		"the scheduler imports locks":          {"internal/dispatch/scheduler/s.go", foreign("scheduler", "sync"), "s.go:3: imports sync, but the scheduler is pure"},
		"the scheduler reads the clock":        {"internal/dispatch/scheduler/s.go", "package scheduler\n\nimport \"time\"\n\nfunc f() time.Time { return time.Now() }\n", "s.go:5: time.Now, but the scheduler is pure"},
		"the scheduler starts a goroutine":     {"internal/dispatch/scheduler/s.go", "package scheduler\n\nfunc f() { go f() }\n", "s.go:3: concurrency, but the scheduler is pure"},
		"a file of 500 lines":                  {"outbox/o.go", "package outbox\n" + strings.Repeat("\n", 499), "o.go: 500 lines, more than 499"},
		"a function of 60 lines":               {"outbox/o.go", "package outbox\n\nfunc f() {" + strings.Repeat("\n", 59) + "}\n", "o.go:3: f has 60 lines, more than 59"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			breaches, err := arch.Check(fstest.MapFS{c.file: {Data: []byte(c.src)}})
			require.NoError(t, err)
			require.Contains(t, strings.Join(breaches, "\n"), c.says)
		})
	}
}

func TestBothHalvesOfACodecStandInOneFile(t *testing.T) {
	t.Parallel()
	check := func(decoder string) string {
		breaches, err := arch.Check(fstest.MapFS{
			"events/doc.go":    {Data: []byte("package events\n")},
			"events/encode.go": {Data: []byte("package events\n\nfunc appendHeader() {}\n\nfunc (e *Event) Encode() {}\n\nfunc ParseOther() {}\n")},
			"events/decode.go": {Data: []byte("package events\n\n" + decoder + "\n")},
		})
		require.NoError(t, err)
		return strings.Join(breaches, "\n")
	}
	require.Contains(t, check("func DecodeHeader() {}"), "the encoder and the decoder of Header are in different files")
	require.Contains(t, check("func (e *Event) UnmarshalJSON() {}"), "the encoder and the decoder of Event are in different files")
	require.Empty(t, check("func DecodeBody() {}"))
}

func TestForeignModulesThatPackagesCompile(t *testing.T) {
	t.Parallel()
	for pkg, most := range map[string]int{"outbox": 10, "events": 0, "events/email": 0, "events/operational": 0, "events/schema": 0, "subscribers/signature": 0} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./"+pkg)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		require.NoError(t, err)
		modules := strings.Fields(string(out))
		slices.Sort(modules)
		modules = slices.Compact(modules)
		require.LessOrEqual(t, len(modules), most, "an importer of %s compiles %v", pkg, modules)
	}
}

// An embedding program compiles no client of a blob store or a KMS.
func TestTheClientCompilesNoS3(t *testing.T) {
	t.Parallel()
	deps := func(pkg string) string {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		require.NoError(t, err)
		return string(out)
	}
	for _, heavy := range []string{"github.com/minio/minio-go", "github.com/aws/"} {
		require.Contains(t, deps("./internal/app"), heavy)
		for _, pkg := range []string{".", "./outbox", "./fanmailtest"} {
			require.NotContains(t, deps(pkg), heavy, pkg)
		}
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
