//go:build go1.25

package receiver_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	receiver "github.com/fanmail-dev/fanmail/receivers/go"
)

// The vectors are those that Fanmail's own verifier keeps to. Each is verified at its own time, by the clock of a bubble.
func TestVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../subscribers/signature/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Secret, Body string
		Now                int64
		Headers            map[string]string
		Standard           bool
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 15 {
		t.Fatalf("there are %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				<-time.After(time.Until(time.Unix(v.Now, 0)))
				r, err := receiver.New(receiver.Config{Secrets: []string{v.Secret}})
				if err != nil {
					t.Fatal(err)
				}
				h := http.Header{}
				for name, value := range v.Headers {
					h.Set(name, value)
				}
				if _, err := r.Verify(h, []byte(v.Body)); errors.Is(err, receiver.ErrSignature) == v.Standard {
					t.Errorf("verified: %v, but the signature is valid: %v", err, v.Standard)
				}
			})
		})
	}
}
