//go:build !race

package signature_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// The race detector empties pools at random, so the count is made without it.
func TestSigningAllocatesLittle(t *testing.T) {
	s, err := signature.NewSigner(signature.NewSecret())
	require.NoError(t, err)
	h := http.Header{}
	body := []byte(strings.Repeat("x", 2000))
	now := time.Now()
	n := testing.AllocsPerRun(200, func() { s.Sign(h, "evt_00000000000000000000000000000000", now, body) })
	require.LessOrEqual(t, n, 8.0)
}
