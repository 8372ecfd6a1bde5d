package signature_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// fuzzSecret encodes 32 zero bytes. It is constant, so that a saved corpus keeps its meaning.
const fuzzSecret = signature.SecretPrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// FuzzVerify changes the headers. If Verify accepts a body, it refuses the same headers with one bit of the body changed,
// with another secret, and after the tolerance.
func FuzzVerify(f *testing.F) {
	at := time.Unix(1_800_000_000, 0)
	s, err := signature.NewSigner(fuzzSecret)
	require.NoError(f, err)
	h := http.Header{}
	s.Sign(h, "evt_1", at, []byte("body"))
	e2a, standard := h.Get(signature.HeaderE2A), h.Get(signature.HeaderSignature)
	f.Add(e2a, "evt_1", "1800000000", standard, []byte("body"))
	f.Add(e2a, "", "", "", []byte("body"))
	f.Add("", "evt_1", "1800000000", standard, []byte("body"))
	f.Add(e2a+","+e2a, "evt_1", "+1800000000", "v1a,x "+standard, []byte("body"))
	f.Add("t=1800000000,t=1,v1=,v1=zz", "evt_2", "01800000000", "v1, v1", []byte{})
	f.Add(" t = 1 , v1 ", ".", "-1", ",", []byte("\x00"))
	f.Fuzz(func(t *testing.T, e2a, id, ts, standard string, body []byte) {
		h := http.Header{}
		for name, v := range map[string]string{signature.HeaderE2A: e2a, signature.HeaderID: id, signature.HeaderTimestamp: ts, signature.HeaderSignature: standard} {
			if v != "" {
				h.Set(name, v)
			}
		}
		err := signature.Verify(fuzzSecret, h, body, at, 0)
		if err != nil {
			return
		}
		other := append([]byte{}, body...)
		if len(other) == 0 {
			other = []byte{0}
		}
		other[0] ^= 1
		require.Error(t, signature.Verify(fuzzSecret, h, other, at, 0))
		require.ErrorIs(t, signature.Verify(fuzzSecret, h, body, at.Add(signature.DefaultTolerance+time.Second+at.Sub(time.Unix(0, 0))), 0), signature.ErrExpired)
		require.Error(t, signature.Verify(signature.NewSecret(), h, body, at, 0))
	})
}
