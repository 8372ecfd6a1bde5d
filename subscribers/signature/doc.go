// Package signature verifies and makes the signatures of webhooks. A receiver can use
// it alone: it imports only the standard library.
//
// A receiver reads the exact bytes of the body and verifies them before it does
// anything else:
//
//	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
//	if err != nil {
//		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
//		return
//	}
//	if err := signature.Verify(secret, r.Header, body, time.Now(), 0); err != nil {
//		http.Error(w, "the signature is not valid", http.StatusUnauthorized)
//		return
//	}
//
// Every POST has two signatures of the same body, each by HMAC-SHA256:
//
//   - X-E2A-Signature is "t=<time>,v1=<hex MAC>". The MAC is over "<time>.<body>". Its
//     key is the whole secret as it was shown, with "whsec_".
//   - webhook-signature, of the Standard Webhooks specification, is
//     "v1,<base64 MAC>". The MAC is over "<webhook-id>.<webhook-timestamp>.<body>".
//     Its key is the bytes that the secret encodes in base64 after "whsec_". Of a
//     secret of another form, which was brought along, it is the whole text.
//
// A webhook can have an Ed25519 key pair as well. webhook-signature then has a further
// value, "v1a,<base64 signature>", over the same text as its MAC. [Verify] takes the
// public key, "whpk_" and base64, in place of the secret.
//
// Times are in Unix seconds. While a secret is being rotated, each header has two
// signatures: one by the new secret and one by the old.
//
// [Verify] guarantees:
//
//   - It accepts a request only if a signature by the secret matches the body, and the
//     signed time is within the tolerance.
//   - If both headers are present, both must match. One header alone is enough.
//   - It compares in constant time. No error contains the secret.
package signature
