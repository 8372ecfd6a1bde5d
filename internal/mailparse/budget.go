package mailparse

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Limits of one mail. Data beyond them is not read; it is still in the raw mail.
const (
	MaxHeaderBytes = 1 << 20 // of the mail's own header
	maxPartHeader  = 256 << 10
	maxPartHeaders = 1 << 20 // of all parts together
	maxParts       = 1000
	maxDepth       = 32
	maxBoundary    = 512
	MaxField       = 64 << 10 // bytes of a field that are decoded
	maxProblems    = 5
	maxProblem     = 200 // bytes

	// A mail of n bytes is given stepsPerByte × n + stepsAtLeast steps. Real mails take under a fifth of that.
	stepsPerByte = 64
	stepsAtLeast = 4 << 20

	askEvery = 64 << 10 // steps between two looks at the context
)

// budget counts the work of reading one mail, and ends it. A step is one byte that one pass looks at. Every loop over
// bytes of the mail spends before it works.
type budget struct {
	ctx      context.Context //nolint:containedctx // it belongs to one call of Parse
	limit    int64
	used     int64
	ask      int64
	over     bool
	problems []string
}

func newBudget(ctx context.Context, size int) *budget {
	return &budget{ctx: ctx, limit: stepsPerByte*int64(size) + stepsAtLeast}
}

// spend takes n steps. False means that the reader must stop and keep what it has.
func (b *budget) spend(n int) bool {
	if b.over {
		return false
	}
	b.used += int64(n)
	if b.used > b.limit {
		b.over = true
		b.mark(fmt.Sprintf("reading the mail takes over %d steps: the limit for its size", b.limit))
		return false
	}
	if b.used >= b.ask {
		b.ask = b.used + askEvery
		if b.ctx.Err() != nil {
			b.over = true
			b.mark("reading the mail took too long")
			return false
		}
	}
	return true
}

// mark notes something that could not be read. It keeps the first few.
func (b *budget) mark(problem string) {
	problem = Cut(Text(problem), maxProblem)
	if len(b.problems) < maxProblems && !slices.Contains(b.problems, problem) {
		b.problems = append(b.problems, problem)
	}
}

// guard catches the panic of a reader, so that a fault of ours does not refuse a mail.
func (b *budget) guard(what string, read func()) {
	defer func() {
		if r := recover(); r != nil {
			b.mark(fmt.Sprintf("the parser of the %s broke down: %v", what, r))
		}
	}()
	read()
}

// problem is all that was marked, in one line; "" for nothing.
func (b *budget) problem() string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.Join(b.problems, "; "))
}
