package browser_test

import (
	"flag"
	"os"
	"slices"
	"sync"
	"testing"
)

var (
	endMu sync.Mutex
	ends  []func()
)

// atEnd registers what ends something that all tests share. The last one registered ends first.
func atEnd(f func()) {
	endMu.Lock()
	defer endMu.Unlock()
	ends = append(ends, f)
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	for _, f := range slices.Backward(ends) {
		f()
	}
	os.Exit(code)
}
