package signature_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

func signed(t *testing.T, at time.Time, body string, secrets ...string) http.Header {
	t.Helper()
	s, err := signature.NewSigner(secrets...)
	require.NoError(t, err)
	h := http.Header{}
	s.Sign(h, "evt_1", at, []byte(body))
	return h
}

func TestBothSecretsVerifyWhileRotating(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old, fresh := signature.NewSecret(), signature.NewSecret()
	h := signed(t, now, `{"a":1}`, fresh, old)
	for _, s := range []string{old, fresh} {
		require.NoError(t, signature.Verify(s, h, []byte(`{"a":1}`), now, 0))
	}
	require.ErrorIs(t, signature.Verify(signature.NewSecret(), h, []byte(`{"a":1}`), now, 0), signature.ErrMismatch)
}

func TestAnyChangeIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	secret := signature.NewSecret()
	body := `{"a":1}`
	fresh := func() http.Header { return signed(t, now, body, secret) }

	require.ErrorIs(t, signature.Verify(secret, fresh(), []byte(`{"a":2}`), now, 0), signature.ErrMismatch)
	require.ErrorIs(t, signature.Verify(secret, fresh(), []byte(body), now.Add(6*time.Minute), 0), signature.ErrExpired)
	require.ErrorIs(t, signature.Verify(secret, fresh(), []byte(body), now.Add(-6*time.Minute), 0), signature.ErrExpired)
	require.ErrorIs(t, signature.Verify(secret, http.Header{}, []byte(body), now, 0), signature.ErrMissing)

	h := fresh()
	h.Set(signature.HeaderID, "evt_2")
	require.ErrorIs(t, signature.Verify(secret, h, []byte(body), now, 0), signature.ErrMismatch)
	h = fresh()
	h.Set(signature.HeaderE2A, strings.Replace(h.Get(signature.HeaderE2A), "t=", "t=1", 1))
	require.ErrorIs(t, signature.Verify(secret, h, []byte(body), now, 0), signature.ErrExpired)
	// The time is within the tolerance and was not signed.
	before := strconv.FormatInt(now.Unix()-1, 10)
	h = fresh()
	h.Set(signature.HeaderE2A, strings.Replace(h.Get(signature.HeaderE2A), "t="+strconv.FormatInt(now.Unix(), 10), "t="+before, 1))
	require.ErrorIs(t, signature.Verify(secret, h, []byte(body), now, 0), signature.ErrMismatch)
	h = fresh()
	h.Set(signature.HeaderTimestamp, before)
	require.ErrorIs(t, signature.Verify(secret, h, []byte(body), now, 0), signature.ErrMismatch)
	h = fresh()
	h.Del(signature.HeaderSignature)
	require.NoError(t, signature.Verify(secret, h, []byte(body), now, 0), "one scheme is enough")
}

func TestAnErrorDoesNotShowABadSecret(t *testing.T) {
	t.Parallel()
	_, err := signature.NewSigner("whsk_hunter2-not-a-key")
	require.ErrorIs(t, err, signature.ErrSecret)
	require.NotContains(t, err.Error(), "hunter2")
}
