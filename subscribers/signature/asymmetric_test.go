package signature_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

func TestAnEd25519SignatureVerifiesWithThePublicKeyAlone(t *testing.T) {
	t.Parallel()
	private, public := signature.NewKeyPair()
	derived, err := signature.PublicKey(private)
	require.NoError(t, err)
	require.Equal(t, public, derived)
	secret, now, body := signature.NewSecret(), time.Unix(1_800_000_000, 0), []byte(`{"a":1}`)
	h := signed(t, now, string(body), secret, private)
	require.NoError(t, signature.Verify(public, h, body, now, 0))
	require.NoError(t, signature.Verify(secret, h, body, now, 0), "the MACs stand beside it")
	_, other := signature.NewKeyPair()
	require.ErrorIs(t, signature.Verify(other, h, body, now, 0), signature.ErrMismatch)
	require.ErrorIs(t, signature.Verify(public, h, []byte(`{"a":2}`), now, 0), signature.ErrMismatch)
	require.ErrorIs(t, signature.Verify(public, h, body, now.Add(time.Hour), 0), signature.ErrExpired)
	require.ErrorIs(t, signature.Verify(public, signed(t, now, string(body), secret), body, now, 0), signature.ErrMissing)
	require.ErrorIs(t, signature.Verify(private, h, body, now, 0), signature.ErrSecret)
	require.ErrorIs(t, signature.Verify("whpk_hunter2", h, body, now, 0), signature.ErrSecret)
	altered := h.Clone()
	altered.Set(signature.HeaderID, "evt_2")
	require.ErrorIs(t, signature.Verify(public, altered, body, now, 0), signature.ErrMismatch)
	require.Equal(t, []string{"v1", "v1a"}, versions(h))
}

func versions(h http.Header) []string {
	var out []string
	for part := range strings.FieldsSeq(h.Get(signature.HeaderSignature)) {
		version, _, _ := strings.Cut(part, ",")
		out = append(out, version)
	}
	return out
}

// The public key and the signature were made with OpenSSL 3.
func TestTheEd25519SignatureIsThatOfOpenSSL(t *testing.T) {
	t.Parallel()
	const (
		private = "whsk_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
		public  = "whpk_ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ="
		sum     = "pupdocPy4L0pQnad3WbGtVHuO01hEkfrsoSsaanBGjTPCMsDq8crTG79kwSHek/rqCZp9gqPpBtsLQ2NEgKeDQ=="
	)
	derived, err := signature.PublicKey(private)
	require.NoError(t, err)
	require.Equal(t, public, derived)
	s, err := signature.NewSigner(signature.NewSecret(), private)
	require.NoError(t, err)
	h := http.Header{}
	s.Sign(h, "evt_1", time.Unix(1_800_000_000, 0), []byte(`{"subject":"hello"}`))
	require.True(t, strings.HasSuffix(h.Get(signature.HeaderSignature), " v1a,"+sum), h.Get(signature.HeaderSignature))
}

func TestASecretOfAnotherFormIsTheKeyOfBothSchemes(t *testing.T) {
	t.Parallel()
	now, body := time.Unix(1_800_000_000, 0), []byte(`{"a":1}`)
	for _, secret := range []string{"a secret that was brought along", "MDEyMzQ1Njc4OWFiY2RlZg==", "whsec_not base64"} {
		h := signed(t, now, string(body), secret)
		require.NoError(t, signature.Verify(secret, h, body, now, 0), secret)
		require.ErrorIs(t, signature.Verify(secret+"x", h, body, now, 0), signature.ErrMismatch)
	}
}
