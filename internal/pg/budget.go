package pg

import "github.com/jackc/pgx/v5"

// PageBytes is how many bytes of rows one page of a list reads.
const PageBytes = 1 << 20

// Budget bounds the bytes of rows that are read for one page, so that the memory for more is never taken. The row that
// exceeds it is the last one.
type Budget struct {
	left int
	cut  bool
}

// NewBudget returns a budget of n bytes.
func NewBudget(n int) *Budget { return &Budget{left: n} }

// Of returns the rows of a query as far as the budget reaches. One budget may be for several queries.
func (b *Budget) Of(rows pgx.Rows) pgx.Rows { return &budgeted{Rows: rows, of: b} }

// Cut reports whether the budget has left rows out, which are the next after those that were read.
func (b *Budget) Cut() bool { return b.cut }

// CollectPage collects rows up to [PageBytes] of them. more says that others come after the last one.
func CollectPage[T any](rows pgx.Rows, scan pgx.RowToFunc[T]) (list []T, more bool, err error) {
	budget := NewBudget(PageBytes)
	list, err = pgx.CollectRows(budget.Of(rows), scan)
	return list, budget.Cut(), err
}

type budgeted struct {
	pgx.Rows
	of *Budget
}

// Next reads the next row, unless the budget is spent.
func (r *budgeted) Next() bool {
	if !r.Rows.Next() {
		return false
	}
	if r.of.left <= 0 {
		r.of.cut = true
		r.Close()
		return false
	}
	for _, v := range r.RawValues() {
		r.of.left -= len(v)
	}
	return true
}
