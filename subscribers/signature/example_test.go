package signature_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// A receiver verifies the exact bytes of the body, and refuses what Fanmail did not
// sign.
func ExampleVerify() {
	secret := signature.NewSecret() // in production: the secret that was shown when the webhook was created
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := signature.Verify(secret, r.Header, body, time.Now(), 0); err != nil {
			http.Error(w, "the signature is not valid", http.StatusUnauthorized)
			return
		}
		// Webhook-Id is the same at every attempt: drop duplicates by it.
		fmt.Println("received", r.Header.Get(signature.HeaderID), string(body))
	}))
	defer receiver.Close()

	signer, err := signature.NewSigner(secret)
	if err != nil {
		log.Fatal(err)
	}
	signed := []byte(`{"type":"email.received"}`)
	for _, body := range [][]byte{signed, []byte(`{"type":"email.forged"}`)} {
		req, err := http.NewRequest(http.MethodPost, receiver.URL, bytes.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		signer.Sign(req.Header, "evt_1", time.Now(), signed)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
		fmt.Println("answered", resp.StatusCode)
	}
	// Output:
	// received evt_1 {"type":"email.received"}
	// answered 200
	// answered 401
}

// During a rotation every request is signed by both secrets. A receiver verifies with
// the old secret until it has the new one.
func ExampleNewSigner_rotation() {
	oldSecret, newSecret := signature.NewSecret(), signature.NewSecret()
	signer, err := signature.NewSigner(newSecret, oldSecret)
	if err != nil {
		log.Fatal(err)
	}
	body, header, now := []byte(`{}`), http.Header{}, time.Now()
	signer.Sign(header, "evt_1", now, body)

	fmt.Println("old secret:", signature.Verify(oldSecret, header, body, now, 0))
	fmt.Println("new secret:", signature.Verify(newSecret, header, body, now, 0))
	err = signature.Verify(signature.NewSecret(), header, body, now, 0)
	fmt.Println("other secret is refused:", errors.Is(err, signature.ErrMismatch))
	// Output:
	// old secret: <nil>
	// new secret: <nil>
	// other secret is refused: true
}

// The webhook-* headers are those of the Standard Webhooks specification, so any of
// its libraries can verify them. They are enough for Verify, too.
func ExampleVerify_standardWebhooks() {
	// A secret for this example: 32 bytes with the value 0.
	secret := signature.SecretPrefix + base64.StdEncoding.EncodeToString(make([]byte, 32))
	signer, err := signature.NewSigner(secret)
	if err != nil {
		log.Fatal(err)
	}
	body, header, at := []byte(`{}`), http.Header{}, time.Unix(1_800_000_000, 0)
	signer.Sign(header, "evt_1", at, body)
	header.Del(signature.HeaderE2A)
	for _, name := range []string{signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature} {
		fmt.Printf("%s: %s\n", name, header.Get(name))
	}

	fmt.Println("in time:", signature.Verify(secret, header, body, at.Add(time.Minute), 0))
	err = signature.Verify(secret, header, body, at.Add(time.Hour), 0)
	fmt.Println("too late:", errors.Is(err, signature.ErrExpired))
	// Output:
	// Webhook-Id: evt_1
	// Webhook-Timestamp: 1800000000
	// Webhook-Signature: v1,ZWflAu0aog8xNhwnYzGZICCNEM5/mvwvo3lPSk87VJ0=
	// in time: <nil>
	// too late: true
}
