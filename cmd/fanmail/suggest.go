package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// allowed finds the list of values in an error, such as: must be one of "missed","all"; known types: email.received, email.sent.
var allowed = regexp.MustCompile(`(?:one of|known types:) (.*)`)

// suggest adds to an error that lists the allowed values the one that an argument of the command line was meant to be.
// Package kong does the same for commands and flags.
func suggest(err error, args []string) error {
	text := err.Error()
	if problem := (*apiclient.Problem)(nil); errors.As(err, &problem) && problem.Status/100 != 4 {
		return err
	}
	list := allowed.FindStringSubmatch(text)
	if list == nil || strings.Contains(text, "did you mean") {
		return err
	}
	values := strings.FieldsFunc(list[1], func(r rune) bool { return strings.ContainsRune(`", ;()`, r) })
	best, distance := "", 3
	for _, arg := range args {
		if name, value, flag := strings.Cut(arg, "="); flag && strings.HasPrefix(name, "--") {
			arg = value
		}
		for given := range strings.SplitSeq(arg, ",") {
			for _, v := range values {
				if d := edits(given, v); d > 0 && d < distance && 2*d < utf8.RuneCountInString(v) {
					best, distance = v, d
				}
			}
		}
	}
	if best == "" {
		return err
	}
	return fmt.Errorf("%w; did you mean %q?", err, best)
}

// edits is the number of characters to insert, delete, replace or swap with their neighbour that turn a into b
// (optimal string alignment).
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			changed := last[j-1]
			if x[i-1] != y[j-1] {
				changed++
			}
			row[j] = min(changed, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
