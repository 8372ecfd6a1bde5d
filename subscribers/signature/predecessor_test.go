package signature_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// The sums are those of
//
//	printf '%s' '1750000000.{"event":"email.received","id":"evt_x"}' | openssl dgst -sha256 -hmac SECRET
//
// so that nothing here computes what it checks.
func TestSecretsThatAreNotBase64SignWithAllOfTheirText(t *testing.T) {
	t.Parallel()
	const stamp = "1750000000"
	body, now := []byte(`{"event":"email.received","id":"evt_x"}`), time.Unix(1750000000, 0)
	for secret, sum := range map[string]string{
		"whsec_secret":               "934f1d33a9aa3480f0df80b03d6530e491a8a9685314a0b93a23860657cc704f",
		"whsec_test1234567890abcdef": "74ea6d63b4d3015632b0b840c1ef9942631e526efcf5d601bed0d91ee7dade0a",
		"whsec_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef": "ad6e1d8ce369560cb6cffe5df8e807937f0068a0910ecb226cf3f5e91206c4ee",
		"no prefix at all": "be9f008f1fbf588105ccf040bf04be071c2cd7c20bc8c9851c2ab03ea024d9bc",
	} {
		h := http.Header{}
		h.Set("X-E2A-Signature", "t="+stamp+",v1="+sum)
		require.NoError(t, signature.Verify(secret, h, body, now, 0), secret)
		require.ErrorIs(t, signature.Verify(secret, h, append(body, ' '), now, 0), signature.ErrMismatch)
		require.ErrorIs(t, signature.Verify(secret+"x", h, body, now, 0), signature.ErrMismatch)
		require.ErrorIs(t, signature.Verify(secret, h, body, now.Add(10*time.Minute), 0), signature.ErrExpired)
		// While a secret is rotated, either signature is enough, in any order.
		h.Set("X-E2A-Signature", "t="+stamp+",v1=00,v1="+sum)
		require.NoError(t, signature.Verify(secret, h, body, now, 0), secret)

		s, err := signature.NewSigner(secret)
		require.NoError(t, err)
		made := http.Header{}
		s.Sign(made, "evt_x", now, body)
		require.Equal(t, "t="+stamp+",v1="+sum, made.Get("X-E2A-Signature"))
		require.NoError(t, signature.Verify(secret, made, body, now, 0), "both schemes verify")
	}
	for _, stamp := range []string{"nan", "inf", "", "1750000000.5"} {
		h := http.Header{}
		h.Set("X-E2A-Signature", "t="+stamp+",v1=00")
		require.ErrorIs(t, signature.Verify("whsec_secret", h, body, now, 0), signature.ErrMissing, stamp)
	}
}
