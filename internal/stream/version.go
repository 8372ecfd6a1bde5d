package stream

import (
	"fmt"
	"slices"
)

const (
	// Oldest is the oldest version of NATS that works: before it, a read of a stream beside a write can lock the stream
	// until the server is started again.
	Oldest = "2.12.3"
	// ResetFrom is the first version that can set a consumer to a sequence.
	ResetFrom = "2.14.0"
)

// Older says whether a version such as 2.11.3 is before another. It is false for a version that it cannot parse.
func Older(version, than string) bool {
	a, known := numbers(version)
	b, _ := numbers(than)
	return known && slices.Compare(a[:], b[:]) < 0
}

func numbers(version string) (v [3]int, ok bool) {
	n, _ := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2])
	return v, n == len(v)
}
