package pgplan

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Recorder holds the plans of what a pool has run.
type Recorder struct {
	// Pool has the engine's settings and one connection.
	Pool *pgxpool.Pool

	mu      sync.Mutex
	plans   []Plan
	parents map[string]string // a partition's index → the partitioned one
}

// Open opens a pool whose plans are recorded. It is closed when the test ends.
func Open(t testing.TB, url string) *Recorder {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	// The notices that hold the plans must reach the client.
	cfg.ConnConfig.RuntimeParams["client_min_messages"] = "notice"
	cfg.MaxConns = 1
	r := &Recorder{}
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { r.notice(t, n.Message) }
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `LOAD 'auto_explain'; SET auto_explain.log_level = notice; SET auto_explain.log_format = json;
			SET auto_explain.log_analyze = on; SET auto_explain.log_buffers = on; SET auto_explain.log_timing = off;
			SET auto_explain.log_min_duration = 0`)
		return err
	}
	pg.Configure(cfg)
	r.Pool, err = pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(r.Pool.Close)
	r.parents = parents(t, url)
	return r
}

func parents(t testing.TB, url string) map[string]string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT c.relname, p.relname FROM pg_inherits AS i
		JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_class AS p ON p.oid = i.inhparent WHERE c.relkind = 'i'`)
	require.NoError(t, err)
	out := map[string]string{}
	var child, parent string
	_, err = pgx.ForEachRow(rows, []any{&child, &parent}, func() error { out[child] = parent; return nil })
	require.NoError(t, err)
	return out
}

func (r *Recorder) notice(t testing.TB, message string) {
	_, text, found := strings.Cut(message, "plan:\n")
	if !found {
		return
	}
	p := Plan{text: text, recorder: r}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Errorf("a plan can't be read: %v\n%s", err, text)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plans = append(r.plans, p)
}

// Of returns the plan of the statement that contains the text. If it ran more than once since the last
// Reset, that is the run that touched the most blocks.
func (r *Recorder) Of(t testing.TB, holding string) Plan {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var found Plan
	for _, p := range r.plans {
		if strings.Contains(p.Query, holding) && (found.Query == "" || p.Blocks() > found.Blocks()) {
			found = p
		}
	}
	require.NotEmpty(t, found.Query, "no statement that holds %q has run", holding)
	return found
}

// Runs is how often a statement that contains the text has run since the last Reset.
func (r *Recorder) Runs(holding string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.plans {
		if strings.Contains(p.Query, holding) {
			n++
		}
	}
	return n
}

// Reset forgets the plans so far.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plans = nil
}

// Plan is how one statement was run.
type Plan struct {
	Query string `json:"Query Text"`
	Root  Node   `json:"Plan"`

	text     string
	recorder *Recorder
}

// Node is a step of a plan. Rows are means over the loops.
type Node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Parent Relationship"` // "Outer": its rows are the parent's input
	Table    string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Filtered float64 `json:"Rows Removed by Filter"`
	Checked  float64 `json:"Rows Removed by Index Recheck"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Children []Node  `json:"Plans"`
}

// String is the plan as Postgres wrote it.
func (p Plan) String() string { return p.text }

// Indexes are the indexes that the run read, sorted. An index of a partition has the name of the
// partitioned index.
func (p Plan) Indexes() []string {
	var out []string
	p.Root.walk(func(n *Node) {
		if n.Index == "" || n.Loops == 0 {
			return
		}
		name := n.Index
		if parent := p.recorder.parents[name]; parent != "" {
			name = parent
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	})
	slices.Sort(out)
	return out
}

// Rows is how many rows the plan read from tables and indexes, including those that it filtered out.
func (p Plan) Rows() int {
	sum := 0.0
	p.Root.walk(func(n *Node) {
		if n.Table != "" && n.Type != "ModifyTable" {
			sum += (n.Rows + n.Filtered + n.Checked) * n.Loops
		}
	})
	return int(sum)
}

// Blocks is how many blocks the plan touched.
func (p Plan) Blocks() int { return p.Root.Hit + p.Root.Read }

// Sorted is how many rows the plan sorted.
func (p Plan) Sorted() int {
	sum := 0.0
	p.Root.walk(func(n *Node) {
		if strings.HasSuffix(n.Type, "Sort") {
			for _, c := range n.Children {
				if c.Relation == "Outer" {
					sum += c.Rows * c.Loops
				}
			}
		}
	})
	return int(sum)
}

// Scanned are the tables that the plan read from end to end.
func (p Plan) Scanned() (tables []string) {
	p.Root.walk(func(n *Node) {
		if n.Type == "Seq Scan" && n.Loops > 0 {
			tables = append(tables, n.Table)
		}
	})
	return tables
}

// Bound is what a plan may do.
type Bound struct {
	// Indexes that the plan must read. It may read no others.
	Indexes []string
	// Rows and Sorted are the most rows that it may read and sort.
	Rows, Sorted int
	// Blocks is the most blocks that it may touch.
	Blocks int
}

// Within fails the test and shows the plan if the plan exceeds the bound or reads a table from end to
// end.
func (p Plan) Within(t testing.TB, b Bound) {
	t.Helper()
	slices.Sort(b.Indexes)
	require.Empty(t, p.Scanned(), "tables read from end to end:\n%s", p)
	require.Equal(t, b.Indexes, p.Indexes(), "indexes:\n%s", p)
	require.LessOrEqual(t, p.Rows(), b.Rows, "rows read:\n%s", p)
	require.LessOrEqual(t, p.Sorted(), b.Sorted, "rows sorted:\n%s", p)
	require.LessOrEqual(t, p.Blocks(), b.Blocks, "blocks touched:\n%s", p)
}

func (n *Node) walk(f func(*Node)) {
	f(n)
	for i := range n.Children {
		n.Children[i].walk(f)
	}
}
