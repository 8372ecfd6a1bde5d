package sink

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// The headers that name a delivery and its attempt.
const (
	HeaderDelivery = "Fanmail-Delivery-Id"
	HeaderAttempt  = "Fanmail-Attempt"
)

// Post is one request that arrived.
type Post struct {
	// Call is what the path's script decided by.
	Call
	Method string
	// At is when the whole body had arrived.
	At time.Time
	// Body and Header are as received; nil unless the sink keeps all.
	Body   []byte
	Header http.Header
	// VerifyErr is the result of [Verify] with the path's secret: nil if both signatures verify. It is [ErrNoSecret] if
	// the path has no secret, and [ErrNotKept] if the sink does not keep bodies.
	VerifyErr error
}

// Why a request was not verified.
var (
	ErrNoSecret = errors.New("the path has no secret to verify with")
	ErrNotKept  = errors.New("bodies are neither kept nor verified")
)

// Verify checks both signature schemes of a request at a time: first with [signature.Verify], then the Standard Webhooks
// headers with an implementation that shares no code with it. The error joins what either refused; nil means that both
// schemes verify.
func Verify(secret string, h http.Header, body []byte, at time.Time) error {
	var ours, theirs error
	if h.Get(signature.HeaderE2A) == "" || h.Get(signature.HeaderSignature) == "" {
		ours = signature.ErrMissing // signature.Verify accepts either scheme alone
	} else if err := signature.Verify(secret, h, body, at, 0); err != nil {
		ours = fmt.Errorf("signature.Verify: %w", err)
	}
	if err := standardWebhooks(secret, h, body, at); err != nil {
		theirs = fmt.Errorf("standard webhooks: %w", err)
	}
	return errors.Join(ours, theirs)
}

// standardWebhooks implements the verification of the Standard Webhooks specification. It must not use package
// signature: an error there would verify itself.
func standardWebhooks(secret string, h http.Header, body []byte, at time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return errors.New("the secret is not base64")
	}
	sent, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return fmt.Errorf("webhook-timestamp: %w", err)
	}
	if age := at.Sub(time.Unix(sent, 0)); age.Abs() > 5*time.Minute {
		return fmt.Errorf("webhook-timestamp is %s away", age)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.%s", h.Get("webhook-id"), sent, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if !slices.Contains(strings.Fields(h.Get("webhook-signature")), want) {
		return errors.New("no signature matches")
	}
	return nil
}
