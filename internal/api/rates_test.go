package api_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
)

// spend sends requests until one is rejected. It returns that response and the
// number of requests that passed.
func spend(t *testing.T, c client) (*answer, int) {
	t.Helper()
	for n := range 1000 {
		a := c.do("GET", "/v1/agents", nil)
		require.NotEmpty(t, a.header.Get("RateLimit-Limit"))
		require.NotEmpty(t, a.header.Get("RateLimit-Remaining"))
		require.NotEmpty(t, a.header.Get("RateLimit-Reset"))
		if a.status != 200 {
			return a.want(t, 429), n
		}
	}
	t.Fatal("a thousand requests passed")
	return nil, 0
}

func TestAKeyIsHeldToItsRateAndNoOtherIs(t *testing.T) {
	t.Parallel()
	open := start(t)
	w := start(t, func(o *api.Options) { o.Pool, o.RateLimit = open.pool, 1 })
	c, other := open.tenant(), open.tenant()
	c.w, other.w = w, w
	refused, passed := spend(t, c)
	require.GreaterOrEqual(t, passed, 2, "a burst of two seconds")
	require.Contains(t, refused.text("detail"), "1 requests a second")
	require.Equal(t, "2", refused.header.Get("RateLimit-Limit"))
	require.Equal(t, "0", refused.header.Get("RateLimit-Remaining"))
	wait, err := strconv.Atoi(refused.header.Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, wait)
	other.do("GET", "/v1/agents", nil).want(t, 200)
	// An unauthenticated request gets no RateLimit headers.
	require.Empty(t, client{w: w, key: "fm_wrong"}.do("GET", "/v1/agents", nil).want(t, 401).header.Get("RateLimit-Limit"))
}

func TestAKeyMayHaveALowerRateOfItsOwn(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.RateLimit = 100_000 })
	c := w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{"rate_limit": 1}).want(t, 201)
	require.EqualValues(t, 1, made.json["rate_limit"])
	slow := client{w: w, key: made.text("secret")}
	// With keys of its making, its limit would be no limit.
	slow.do("POST", "/v1/keys", map[string]any{"rate_limit": 2}).want(t, 422).names(t, "body.rate_limit")
	require.Contains(t, slow.do("POST", "/v1/keys", map[string]any{"rate_limit": 1}).want(t, 403).text("detail"), "rate limit of its own, of 1 requests a second")
	refused, _ := spend(t, slow)
	require.Contains(t, refused.text("detail"), "1 requests a second, and 2 at once")
	for range 10 {
		require.Equal(t, "200000", c.do("GET", "/v1/agents", nil).want(t, 200).header.Get("RateLimit-Limit"))
	}
	c.do("POST", "/v1/keys", map[string]any{"rate_limit": 0}).want(t, 422).names(t, "body.rate_limit")
	c.do("POST", "/v1/keys", map[string]any{"rate_limit": 1_000_000}).want(t, 422).names(t, "body.rate_limit")
	var listed bool
	for _, k := range c.do("GET", "/v1/keys", nil).want(t, 200).json["data"].([]any) {
		k := k.(map[string]any)
		if k["id"] == made.text("id") {
			listed = true
			require.EqualValues(t, 1, k["rate_limit"])
		}
	}
	require.True(t, listed)
}

func TestWithoutALimitNoneIsTold(t *testing.T) {
	t.Parallel()
	w := start(t)
	require.Empty(t, w.tenant().do("GET", "/v1/agents", nil).want(t, 200).header.Get("RateLimit-Limit"))
}
