package signature_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func reference(t testing.TB, secret string) *standardwebhooks.Webhook {
	t.Helper()
	w, err := standardwebhooks.NewWebhook(secret)
	if !strings.HasPrefix(secret, signature.SecretPrefix) {
		w, err = standardwebhooks.NewWebhookRaw([]byte(secret))
	}
	require.NoError(t, err)
	return w
}

func TestTheReferenceLibraryVerifiesBothSecretsWhileRotating(t *testing.T) {
	t.Parallel()
	old, fresh, body := signature.NewSecret(), signature.NewSecret(), []byte(`{"a":1}`)
	s, err := signature.NewSigner(fresh, old)
	require.NoError(t, err)
	h := http.Header{}
	s.Sign(h, "evt_1", time.Now(), body)
	for _, secret := range []string{old, fresh} {
		require.NoError(t, reference(t, secret).Verify(body, h))
		require.NoError(t, sink.Verify(secret, h, body, time.Now()), "the tests' receiver agrees")
	}
	other := signature.NewSecret()
	require.Error(t, reference(t, other).Verify(body, h), "another secret")
	require.ErrorContains(t, sink.Verify(other, h, body, time.Now()), "standard webhooks: no signature matches")
}

func TestTheReferenceLibraryAcceptsEveryValidVector(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../../subscribers/signature/testdata/vectors.json")
	require.NoError(t, err)
	var vectors []struct {
		Name, Secret, Body string
		Headers            map[string]string
		Standard           bool
	}
	require.NoError(t, json.Unmarshal(b, &vectors))
	compared := 0
	for _, v := range vectors {
		h := http.Header{}
		for name, value := range v.Headers {
			h.Set(name, value)
		}
		if !v.Standard {
			continue // the reference library does not know our clock
		}
		require.NoError(t, reference(t, v.Secret).VerifyIgnoringTimestamp([]byte(v.Body), h), v.Name)
		compared++
	}
	require.Greater(t, compared, 4)
}

// FuzzReferenceAgrees: Verify refuses every standard header that the reference library refuses.
func FuzzReferenceAgrees(f *testing.F) {
	const secret = signature.SecretPrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	at := time.Unix(1_800_000_000, 0)
	s, err := signature.NewSigner(secret)
	require.NoError(f, err)
	signed := http.Header{}
	s.Sign(signed, "evt_1", at, []byte("body"))
	standard := signed.Get(signature.HeaderSignature)
	f.Add("evt_1", "1800000000", standard, []byte("body"))
	f.Add("evt_1", "+1800000000", "v1a,x "+standard, []byte("body"))
	f.Add("evt_2", "01800000000", "v1, v1", []byte{})
	f.Add(".", "-1", ",", []byte("\x00"))
	judge := reference(f, secret)
	f.Fuzz(func(t *testing.T, id, ts, standard string, body []byte) {
		h := http.Header{}
		h.Set(signature.HeaderID, id)
		h.Set(signature.HeaderTimestamp, ts)
		h.Set(signature.HeaderSignature, standard)
		if signature.Verify(secret, h, body, at, 0) == nil {
			require.NoError(t, judge.VerifyIgnoringTimestamp(body, h))
		}
	})
}
