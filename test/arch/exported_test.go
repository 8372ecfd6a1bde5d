package arch_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/arch"
)

var update = flag.Bool("update", false, "write testdata/exported.txt")

const golden = "testdata/exported.txt"

//go:generate go test -run TestExportedSymbolsAreReviewed . -update

// TestExportedSymbolsAreReviewed fails on every change of the public API, so that a reviewer sees it as a diff of the
// golden file.
func TestExportedSymbolsAreReviewed(t *testing.T) {
	t.Parallel()
	have, err := arch.Exported(os.DirFS("../.."))
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(have), 0o600))
	}
	want := strings.Split(read(t, golden), "\n")
	got := strings.Split(have, "\n")
	without := func(lines, others []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(others, l) }), "\n")
	}
	fresh, lost := without(got, want), without(want, got)
	if fresh != "" || lost != "" {
		t.Fatalf("the public API has changed. If that is intended, run `make generate` and commit test/arch/%s.\nnew:\n%s\ngone:\n%s", golden, fresh, lost)
	}
}

func TestExportedSymbolsOfATree(t *testing.T) {
	t.Parallel()
	src := `package outbox

import "context"

// Limit is exported.
const Limit, hidden = 5, 6

// ErrFull is exported.
var ErrFull error

type inner struct{ X int }

func (inner) Method() {}

// Event is exported.
type Event struct {
	inner
	ID   string ` + "`json:\"id\"`" + `
	size int
}

// Sink is exported.
type Sink interface {
	Put(ctx context.Context,
		e Event) error
	private()
}

// Set is exported.
type Set[T comparable] map[T]int

// Insert is exported.
func (e *Event) Insert(ctx context.Context) (id string, err error) { return "", nil }

func helper() {}
`
	got, err := arch.Exported(fstest.MapFS{
		"outbox/o.go": {Data: []byte(src)}, "outbox/o_test.go": {Data: []byte("package outbox\n\nfunc TestX() {}\n")},
		"internal/pg/p.go": {Data: []byte("package pg\n\nfunc Open() {}\n")},
	})
	require.NoError(t, err)
	require.Equal(t, "outbox: const Limit = 5\n"+
		"outbox: func Event.Insert(ctx context.Context) (id string, err error)\n"+
		"outbox: type Event struct\n"+
		"outbox: type Event: ID string `json:\"id\"`\n"+
		"outbox: type Event: inner\n"+
		"outbox: type Set[T comparable] map[T]int\n"+
		"outbox: type Sink interface\n"+
		"outbox: type Sink: Put func(ctx context.Context, e Event) error\n"+
		"outbox: var ErrFull error\n", got)
}
