package signature_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vector is a request as a receiver sees it, and whether the receiver must accept it at that time.
type vector struct {
	Name    string            `json:"name"`
	Secret  string            `json:"secret"`
	Now     int64             `json:"now"` // Unix seconds
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Valid   bool              `json:"valid"`
	// Standard is Valid for a receiver that checks the headers of Standard Webhooks alone.
	Standard bool `json:"standard"`
}

// Each secret but one encodes 32 equal bytes. No webhook has them.
const (
	vectorSecret = signature.SecretPrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	vectorOld    = signature.SecretPrefix + "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	vectorRaw    = "a secret that was brought along"
	vectorKey    = signature.PrivatePrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)

func makeVectors(t *testing.T) []vector {
	t.Helper()
	const at, id = 1_800_000_000, "evt_00000000000000000000000000000001"
	body := `{"type":"email.received","id":"` + id + `","created_at":"2027-01-15T08:00:00Z","schema_version":"1","data":{"subject":"Grüße ✉"}}`
	sign := func(body string, secrets ...string) map[string]string {
		s, err := signature.NewSigner(secrets...)
		require.NoError(t, err)
		h := http.Header{}
		s.Sign(h, id, time.Unix(at, 0), []byte(body))
		out := map[string]string{}
		for name := range h {
			out[name] = h.Get(name)
		}
		return out
	}
	with := func(h map[string]string, name, value string) map[string]string {
		if value == "" {
			delete(h, name)
		} else {
			h[name] = value
		}
		return h
	}
	return []vector{
		{"signed", vectorSecret, at, sign(body, vectorSecret), body, true, true},
		{"an empty body", vectorSecret, at, sign("", vectorSecret), "", true, true},
		{"rotated: the new secret", vectorSecret, at, sign(body, vectorSecret, vectorOld), body, true, true},
		{"rotated: the old secret", vectorOld, at, sign(body, vectorSecret, vectorOld), body, true, true},
		{"as late as is allowed", vectorSecret, at + 300, sign(body, vectorSecret), body, true, true},
		{"too late", vectorSecret, at + 301, sign(body, vectorSecret), body, false, false},
		{"from the future", vectorSecret, at - 301, sign(body, vectorSecret), body, false, false},
		{"another secret", vectorOld, at, sign(body, vectorSecret), body, false, false},
		{"an altered body", vectorSecret, at, sign(body, vectorSecret), body + " ", false, false},
		{"another event's id", vectorSecret, at, with(sign(body, vectorSecret), signature.HeaderID, "evt_00000000000000000000000000000002"), body, false, false},
		{"only Standard Webhooks", vectorSecret, at, with(sign(body, vectorSecret), signature.HeaderE2A, ""), body, true, true},
		{"only X-E2A-Signature", vectorSecret, at, with(sign(body, vectorSecret), signature.HeaderSignature, ""), body, true, false},
		{"an altered X-E2A-Signature", vectorSecret, at, with(sign(body, vectorSecret), signature.HeaderE2A, "t=1800000000,v1=00"), body, false, true},
		{"an unknown version alone", vectorSecret, at, with(with(sign(body, vectorSecret), signature.HeaderE2A, ""), signature.HeaderSignature, "v2,AAAA"), body, false, false},
		{"a secret that was brought along", vectorRaw, at, sign(body, vectorRaw), body, true, true},
		{"an Ed25519 signature beside the others", vectorSecret, at, sign(body, vectorSecret, vectorKey), body, true, true},
		{"no signature", vectorSecret, at, map[string]string{signature.HeaderID: id, signature.HeaderTimestamp: "1800000000"}, body, false, false},
	}
}

// Receivers in other languages test themselves with the file. This test fails if a byte of a signature changes.
func TestVectors(t *testing.T) {
	t.Parallel()
	made, err := json.MarshalIndent(makeVectors(t), "", "  ")
	require.NoError(t, err)
	made = append(made, '\n')
	if *update {
		require.NoError(t, os.WriteFile(vectorsFile, made, 0o600))
	}
	kept, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	require.Equal(t, string(made), string(kept))

	var all []vector
	require.NoError(t, json.Unmarshal(kept, &all))
	for _, v := range all {
		h := http.Header{}
		for name, value := range v.Headers {
			h.Set(name, value)
		}
		err := signature.Verify(v.Secret, h, []byte(v.Body), time.Unix(v.Now, 0), 0)
		require.Equal(t, v.Valid, err == nil, "%s: %v", v.Name, err)
		h.Del(signature.HeaderE2A)
		err = signature.Verify(v.Secret, h, []byte(v.Body), time.Unix(v.Now, 0), 0)
		require.Equal(t, v.Standard, err == nil, "%s, without X-E2A-Signature: %v", v.Name, err)
	}
}
