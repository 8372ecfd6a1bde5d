package promise

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

func TestOnlyOneRepetitionWithinAnAttemptIsExpected(t *testing.T) {
	t.Parallel()
	left := &history.Post{Attempt: 1, Status: 200, Left: true} // its sender was killed
	closed := &history.Post{Attempt: 1}
	answered := &history.Post{Attempt: 1, Status: 500}
	ok := &history.Post{Attempt: 1, Status: 200}
	for name, c := range map[string]struct {
		earlier []*history.Post
		want    bool
	}{
		"the first":                        {nil, false},
		"after a closed connection":        {[]*history.Post{closed}, true},
		"the same under the next lease":    {[]*history.Post{left, closed}, true},
		"a second repetition":              {[]*history.Post{closed, closed}, false},
		"a second one under a later lease": {[]*history.Post{left, closed, closed}, false},
		"after an answer":                  {[]*history.Post{answered}, false},
		"after a sender that was killed":   {[]*history.Post{left}, false},
		"after a success":                  {[]*history.Post{ok}, false},
		"the same under a lease after it":  {[]*history.Post{ok, closed}, true},
		"and a second one":                 {[]*history.Post{ok, closed, closed}, false},
	} {
		require.Equal(t, c.want, repeated(c.earlier, &history.Post{Attempt: 1}), name)
	}
	require.False(t, repeated([]*history.Post{{Attempt: 1}}, &history.Post{Attempt: 2}), "another attempt")
}
