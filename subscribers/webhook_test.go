package subscribers_test

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

func TestTheLimitsOfAWebhooksSettings(t *testing.T) {
	t.Parallel()
	values := func(n int) []string { return strings.Fields(strings.Repeat("v ", n)) }
	inList := func(n int) []byte { return []byte(`{"a": {"in": [1` + strings.Repeat(`, 1`, n-1) + `]}}`) }
	sound := func() subscribers.Webhook {
		return subscribers.Webhook{
			URL: "https://hooks.example.com/" + strings.Repeat("x", subscribers.MaxURLBytes-len("https://hooks.example.com/")), Events: []events.Type{events.EmailReceived},
			Description: strings.Repeat("d", subscribers.MaxDescriptionBytes), MaxInFlight: subscribers.MaxMaxInFlight, Ordering: subscribers.OrderingNone,
			Filters: subscribers.Filters{AgentIDs: values(50), ConversationIDs: values(50), Labels: values(50), Data: inList(50)},
		}
	}
	w := sound()
	require.NoError(t, w.Validate(subscribers.Limits{}), "each value is at its limit")
	for says, change := range map[string]func(*subscribers.Webhook){
		"url: has 2049 bytes; the limit is 2048":                    func(w *subscribers.Webhook) { w.URL += "x" },
		"description: has 201 bytes; the limit is 200":              func(w *subscribers.Webhook) { w.Description += "d" },
		"description: holds a line break":                           func(w *subscribers.Webhook) { w.Description = "a\rb" },
		"filters.agent_ids: has 51 values; the limit is 50":         func(w *subscribers.Webhook) { w.Filters.AgentIDs = values(51) },
		"filters.conversation_ids: has 51 values; the limit is 50":  func(w *subscribers.Webhook) { w.Filters.ConversationIDs = values(51) },
		"filters.labels: has 51 values; the limit is 50":            func(w *subscribers.Webhook) { w.Filters.Labels = values(51) },
		"filters.data: has more than 50 values, which is the limit": func(w *subscribers.Webhook) { w.Filters.Data = inList(51) },
		`filters.data["amount"].gte: must be a number`:              func(w *subscribers.Webhook) { w.Filters.Data = []byte(`{"amount": {"gte": "10"}}`) },
		"events: names no event type":                               func(w *subscribers.Webhook) { w.Events = nil },
		string(events.EmailReceived):                                func(w *subscribers.Webhook) { w.Events = []events.Type{"email.eaten"} },
		"url: must be an https URL; plain http is off":              func(w *subscribers.Webhook) { w.URL = "http://hooks.example.com/" },
		"url: must not hold credentials":                            func(w *subscribers.Webhook) { w.URL = "https://a:b@hooks.example.com/" },
		"url: must not hold a fragment":                             func(w *subscribers.Webhook) { w.URL = "https://hooks.example.com/#in" },
		"url: must be an https URL":                                 func(w *subscribers.Webhook) { w.URL = "ftp://hooks.example.com/" },
		"url: is not an absolute URL with a host":                   func(w *subscribers.Webhook) { w.URL = "hooks.example.com/in" },
		"filters.labels: holds an empty value":                      func(w *subscribers.Webhook) { w.Filters.Labels = []string{""} },
		"max_in_flight: is 4097; it must be from 1 to 4096":         func(w *subscribers.Webhook) { w.MaxInFlight++ },
		"max_in_flight: is 0; it must be from 1 to 4096":            func(w *subscribers.Webhook) { w.MaxInFlight = 0 },
		"rate_limit: is 10001 a second":                             func(w *subscribers.Webhook) { w.RateLimit = subscribers.MaxRateLimit + 1 },
		"rate_limit: is -1 a second":                                func(w *subscribers.Webhook) { w.RateLimit = -1 },
		`ordering: is "fifo"`:                                       func(w *subscribers.Webhook) { w.Ordering = "fifo" },
	} {
		w := sound()
		change(&w)
		err := w.Validate(subscribers.Limits{})
		var field *events.FieldError
		require.ErrorAs(t, err, &field, says)
		require.ErrorContains(t, err, says)
	}
	// The operator's limits.
	few := subscribers.Limits{IDsPerFilter: 3, AllowHTTP: true}
	w = sound()
	w.URL, w.Filters = "http://hooks.example.com/", subscribers.Filters{Labels: values(3)}
	require.NoError(t, w.Validate(few))
	w.Filters.Labels = values(4)
	require.ErrorContains(t, w.Validate(few), "filters.labels: has 4 values; the limit is 3")
	w.Filters = subscribers.Filters{Data: inList(4)}
	require.ErrorContains(t, w.Validate(few), "filters.data: has more than 3 values, which is the limit")
}

func TestAURLOfAPrivateAddressIsRefused(t *testing.T) {
	t.Parallel()
	var err error
	for _, host := range []string{
		"127.0.0.1", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "192.168.0.1", "localhost", "x.localhost.", "LOCALHOST",
		"[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[ff02::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]",
	} {
		_, err = subscribers.Limits{}.NormalizeURL("url", "https://"+host+"/")
		require.Error(t, err, host)
	}
	_, err = subscribers.Limits{}.NormalizeURL("url", "https://93.184.216.34/")
	require.NoError(t, err)
	_, err = subscribers.Limits{}.NormalizeURL("url", "https://[2606:4700:4700::1111]/")
	require.NoError(t, err)
	allowed := subscribers.Limits{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	_, err = allowed.NormalizeURL("url", "https://10.0.0.1/")
	require.NoError(t, err)
	_, err = allowed.NormalizeURL("url", "https://192.168.0.1/")
	require.Error(t, err)
}

func TestARotatedSecretSignsForADay(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w := s.webhook(t)
	r := subscribers.NewRegistry(s.pool, nil, zaptest.NewLogger(t))
	require.NoError(t, r.Load(ctx))
	before, err := r.Get(w.ID).Signer(time.Now())
	require.NoError(t, err)
	_, until, err := s.Rotate(ctx, s.tenant, w.ID, "")
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), until, time.Minute)
	require.NoError(t, r.Load(ctx))
	within, err := r.Get(w.ID).Signer(until.Add(-time.Second))
	require.NoError(t, err)
	past, err := r.Get(w.ID).Signer(until)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 1}, []int{signatures(before), signatures(within), signatures(past)})
	_, err = retention.Run(ctx, s.pool, subscribers.RetentionRules(retention.Policy{}))
	require.NoError(t, err)
	s.exec(t, `UPDATE fanmail.webhooks SET previous_until = ARRAY[now()]`)
	_, err = retention.Run(ctx, s.pool, subscribers.RetentionRules(retention.Policy{}))
	require.NoError(t, err)
	var kept []string
	require.NoError(t, s.pool.QueryRow(ctx, `SELECT previous_secrets FROM fanmail.webhooks`).Scan(&kept))
	require.Empty(t, kept, "the old secret is deleted")
	_, _, err = s.Rotate(ctx, events.NewRandom[events.TenantKind](), w.ID, "")
	require.ErrorIs(t, err, subscribers.ErrNotFound)
}

// Secrets end in another order than they were rotated away: each keeps its own time.
func TestTenOverlappingRotationsKeepTheirOwnTimes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w, first, err := s.Create(ctx, s.tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true, SigningSecret: "brought along at creation",
	})
	require.NoError(t, err)
	require.Equal(t, "brought along at creation", first)
	secrets := []string{first} // oldest first
	for i := range subscribers.MaxPreviousSecrets {
		brought := ""
		if i%2 == 1 {
			brought = "brought along at rotation " + strconv.Itoa(i)
		}
		next, _, err := s.Rotate(ctx, s.tenant, w.ID, brought)
		require.NoError(t, err)
		if brought != "" {
			require.Equal(t, brought, next)
		}
		secrets = append(secrets, next)
	}
	base := time.Now().Truncate(time.Second)
	ends := map[string]time.Time{}
	var stored []time.Time // newest first
	for i := len(secrets) - 2; i >= 0; i-- {
		end := base.Add(time.Duration(1+(i*7)%10) * time.Hour)
		ends[secrets[i]], stored = end, append(stored, end)
	}
	s.exec(t, `UPDATE fanmail.webhooks SET previous_until = $1`, stored)
	r := subscribers.NewRegistry(s.pool, nil, zaptest.NewLogger(t))
	require.NoError(t, r.Load(ctx))
	signsAt := func(at time.Time) {
		signer, err := r.Get(w.ID).Signer(at)
		require.NoError(t, err)
		h, body, want := http.Header{}, []byte("{}"), 1
		signer.Sign(h, "evt_1", at, body)
		for _, secret := range secrets {
			err := signature.Verify(secret, h, body, at, 0)
			if end, previous := ends[secret]; previous && !at.Before(end) {
				require.Error(t, err, "%q at %s signs until %s", secret, at, end)
				continue
			}
			require.NoError(t, err, "%q at %s", secret, at)
			if secret != secrets[len(secrets)-1] {
				want++
			}
		}
		require.Equal(t, want, signatures(signer))
	}
	for _, end := range stored {
		for _, d := range []time.Duration{-time.Second, -1, 0, time.Second} {
			signsAt(end.Add(d))
		}
	}

	_, _, err = s.Rotate(ctx, s.tenant, w.ID, "")
	var limit *subscribers.RotationLimitError
	require.ErrorAs(t, err, &limit)
	require.WithinDuration(t, base.Add(time.Hour), limit.Until, 0)
	// Two of them end. The maintenance and the next rotation drop these, and no other.
	move := -2*time.Hour - time.Minute
	for i := range stored {
		stored[i] = stored[i].Add(move)
	}
	for secret := range ends {
		ends[secret] = ends[secret].Add(move)
	}
	s.exec(t, `UPDATE fanmail.webhooks SET previous_until = $1`, stored)
	_, err = retention.Run(ctx, s.pool, subscribers.RetentionRules(retention.Policy{}))
	require.NoError(t, err)
	require.NoError(t, r.Load(ctx))
	signsAt(time.Now())
	next, until, err := s.Rotate(ctx, s.tenant, w.ID, "")
	require.NoError(t, err)
	ends[secrets[len(secrets)-1]] = until
	secrets = append(secrets, next)
	require.NoError(t, r.Load(ctx))
	for _, end := range ends {
		if end.After(time.Now()) {
			signsAt(end.Add(-time.Second))
			signsAt(end)
		}
	}
}

func signatures(s *signature.Signer) int {
	h := http.Header{}
	s.Sign(h, "evt_1", time.Now(), []byte("{}"))
	return strings.Count(h.Get(signature.HeaderE2A), "v1=")
}

func TestAURLIsStoredNormalised(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w, _, err := s.Create(ctx, s.tenant, subscribers.Webhook{URL: " HTTPS://BÜCHER.example:443/a b?q={ü} ", Events: []events.Type{events.EmailReceived}})
	require.NoError(t, err)
	require.Equal(t, "https://xn--bcher-kva.example/a%20b?q=%7B%C3%BC%7D", w.URL)
	url := "https://Hooks.EXAMPLE.:8443/|"
	w, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{URL: &url})
	require.NoError(t, err)
	require.Equal(t, "https://hooks.example:8443/%7C", w.URL)
	w, err = s.Get(ctx, s.tenant, w.ID)
	require.NoError(t, err)
	require.Equal(t, "https://hooks.example:8443/%7C", w.URL)
	for _, bad := range []string{"https://hooks.example:0/", "https://2130706433/", "https://hooks.example:25/", "https://１２７.0.0.1/"} {
		_, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{URL: &bad})
		var field *events.FieldError
		require.ErrorAs(t, err, &field, bad)
		_, _, err = s.Create(ctx, s.tenant, subscribers.Webhook{URL: bad, Events: []events.Type{events.EmailReceived}})
		require.ErrorAs(t, err, &field, bad)
	}
	long := "https://hooks.example/" + strings.Repeat("ü", 1000)
	_, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{URL: &long})
	require.ErrorContains(t, err, "url: has 6022 bytes; the limit is 2048")
}
