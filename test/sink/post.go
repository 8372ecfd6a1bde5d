package sink

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

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
	// Verdict is nil when both judges verified the request with the secret of
	// its path, [ErrNoSecret] when the path had none, [ErrNotKept] when the
	// sink doesn't keep all, else what the judges said.
	Verdict error
}

// Why a request has no verdict.
var (
	ErrNoSecret = errors.New("the path has no secret to verify with")
	ErrNotKept  = errors.New("bodies are neither kept nor verified")
)

// Judge verifies a request by both judges: [signature.Verify] and the Standard
// Webhooks library. The second reads the clock itself, so at must be about now.
func Judge(secret string, h http.Header, body []byte, at time.Time) error {
	var ours, theirs error
	if h.Get(signature.HeaderE2A) == "" || h.Get(signature.HeaderSignature) == "" {
		ours = signature.ErrMissing // Verify is content with either scheme
	} else if err := signature.Verify(secret, h, body, at, 0); err != nil {
		ours = fmt.Errorf("signature.Verify: %w", err)
	}
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err == nil {
		err = webhook.Verify(body, h)
	}
	if err != nil {
		theirs = fmt.Errorf("standard webhooks: %w", err)
	}
	return errors.Join(ours, theirs)
}
