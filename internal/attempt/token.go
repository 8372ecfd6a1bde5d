package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/internal/setting"
)

const (
	// tokenTimeout bounds the fetching of a token.
	tokenTimeout = 10 * time.Second
	// tokenAnswerBytes bounds the answer of a token endpoint, and tokenBytes a token.
	tokenAnswerBytes = 64 << 10
	tokenBytes       = 8 << 10
	// tokenLife is how long a token without a lifetime is used.
	tokenLife = time.Hour
	// tokenFailure is how long attempts share the failure of a fetch.
	tokenFailure = time.Second
	// An endpoint that refuses every token causes tokenRefreshes fetches at once, and
	// then one every tokenRefreshEvery.
	tokenRefreshes    = 5
	tokenRefreshEvery = 10 * time.Second
)

// tokens fetches and keeps the token of one webhook.
type tokens struct {
	config    clientcredentials.Config
	client    *http.Client
	refreshes *rate.Limiter
	flight    singleflight.Group

	mu          sync.Mutex
	value       string // of the header Authorization; "": none
	until       time.Time
	failed      error
	failedUntil time.Time
}

func newTokens(a *endpoint.Auth, transport *tokenTransport) *tokens {
	return &tokens{
		config:    clientcredentials.Config{ClientID: a.ClientID, ClientSecret: a.ClientSecret, TokenURL: a.TokenURL, Scopes: a.Scopes},
		refreshes: rate.NewLimiter(rate.Every(tokenRefreshEvery), tokenRefreshes),
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// get returns the value of the header Authorization. Attempts that need a token at the
// same time share one fetch.
func (t *tokens) get(ctx context.Context) (string, error) {
	if value, err := t.known(time.Now()); value != "" || err != nil {
		return value, err
	}
	select {
	case r := <-t.flight.DoChan("", func() (any, error) { return t.fetch() }): //nolint:contextcheck // attempts share it, so it outlives each of them
		value, _ := r.Val.(string)
		return value, r.Err
	case <-ctx.Done():
		var late *timeoutError
		if cause := context.Cause(ctx); !errors.As(cause, &late) {
			return "", cause
		}
		return "", tokenless("it has not answered within the time of the attempt", "")
	}
}

// known returns a token that is valid, or why there is none for the moment.
func (t *tokens) known(now time.Time) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.value != "" && now.Before(t.until):
		return t.value, nil
	case t.failed != nil && now.Before(t.failedUntil):
		return "", t.failed
	}
	return "", nil
}

// drop forgets a token that the endpoint has refused. It reports whether another one
// may be had.
func (t *tokens) drop(value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value != value {
		return true
	}
	if !t.refreshes.Allow() {
		return false
	}
	t.value = ""
	return true
}

// fetch asks the token endpoint. It belongs to all attempts that wait for it, so that
// the end of one does not end it.
func (t *tokens) fetch() (string, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), tokenTimeout, errTokenLate)
	defer cancel()
	token, err := t.config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	value, now := "", time.Now()
	switch {
	case err != nil && ctx.Err() != nil:
		err = tokenless(errTokenLate.Error(), "")
	case err != nil:
		err = tokenFault(err)
	default:
		value = token.Type() + " " + token.AccessToken
		if len(value) > tokenBytes || !httpguts.ValidHeaderFieldValue(value) {
			value, err = "", tokenless(fmt.Sprintf("its token is no valid header, or has over %d bytes", tokenBytes), "")
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value, t.failed = value, err
	if err != nil {
		t.failedUntil = now.Add(tokenFailure)
		return "", err
	}
	life := tokenLife
	if !token.Expiry.IsZero() {
		life = token.Expiry.Sub(now)
		life -= min(life/10, 30*time.Second) // the endpoint's clock is another one
	}
	t.until = now.Add(life)
	return value, nil
}

var errTokenLate = fmt.Errorf("it has not answered within %g s", tokenTimeout.Seconds())

// tokenless is the error of an attempt that got no token. Its text shows nothing of
// what was sent or answered.
func tokenless(text, detail string) error {
	return &unmade{reason: ReasonToken, text: "no OAuth 2 token from the webhook's token_url: " + text, detail: detail}
}

func tokenFault(err error) error {
	var answered *oauth2.RetrieveError
	var sent *url.Error
	switch {
	case errors.As(err, &answered):
		text := fmt.Sprintf("it answered %d", answered.Response.StatusCode)
		if code := answered.Response.StatusCode; code >= 300 && code < 400 {
			text += "; redirects are not followed"
		}
		if c := answered.ErrorCode; isErrorCode(c) {
			text += fmt.Sprintf(" and the error %q", c)
		}
		return tokenless(text, "")
	case errors.Is(err, errPlainHTTP):
		return tokenless(setting.Named("it is not https, and plain http is off (FANMAIL_ALLOW_HTTP)"), "")
	case errors.As(err, &sent):
		_, text := describe(sent.Err)
		return tokenless(text, oneLine(sent.Err))
	}
	return tokenless("what it answered holds no token", "")
}

// isErrorCode reports whether a text is an error code such as "invalid_client".
func isErrorCode(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// tokenTransport sends requests for tokens, over connections like those of a POST.
type tokenTransport struct {
	via       func(host string) http.RoundTripper
	userAgent []string
	allowHTTP bool
}

// RoundTrip implements [http.RoundTripper].
func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !t.allowHTTP {
		_ = req.Body.Close()
		return nil, errPlainHTTP
	}
	req = req.Clone(req.Context())
	req.Header["User-Agent"] = t.userAgent
	resp, err := t.via(req.URL.Host).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, tokenAnswerBytes), resp.Body}
	return resp, nil
}
