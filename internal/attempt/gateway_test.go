package attempt

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/test/sink"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

func withSettings(t *testing.T, r Request, s endpoint.Settings, timeout time.Duration) Request {
	t.Helper()
	require.NoError(t, s.Normalize(time.Now(), func(_, raw string) (string, error) { return raw, nil }))
	e, err := NewEndpoint([16]byte{}, [16]byte{1}, &s, timeout)
	require.NoError(t, err)
	r.Endpoint = e
	return r
}

func TestStaticHeadersAreSentAndReplaceNoneOfTheSender(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	r := request(t, s.URL("/a"))
	// Settings that were never normalized: even then the sender's own headers win.
	e, err := NewEndpoint([16]byte{}, [16]byte{1}, &endpoint.Settings{
		Headers: map[string]string{
			"X-Api-Key": "key", "User-Agent": "other", "Content-Type": "text/plain", HeaderAttempt: "99", "X-Idempotency-Key": "x",
		},
		Auth: &endpoint.Auth{Type: endpoint.Basic, Username: "user", Password: "pässword"},
	}, 0)
	require.NoError(t, err)
	r.Endpoint = e
	require.True(t, poster(t, time.Minute).Post(t.Context(), r).Delivered)
	h := s.Posts(0)[0].Header
	require.Equal(t, "key", h.Get("X-Api-Key"))
	require.Equal(t, "Fanmail/1 (test)", h.Get("User-Agent"))
	require.Equal(t, "application/json", h.Get("Content-Type"))
	require.Equal(t, []string{"3"}, h.Values(HeaderAttempt))
	require.Empty(t, h.Get("X-Idempotency-Key"))
	user, password, ok := (&http.Request{Header: h}).BasicAuth()
	require.True(t, ok)
	require.Equal(t, []string{"user", "pässword"}, []string{user, password})
}

func TestAWebhooksOwnTimeoutIsNamed(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	hold := make(chan struct{})
	defer close(hold)
	s.Script("/hangs", sink.Hang(hold))
	r := poster(t, time.Hour).Post(t.Context(), withSettings(t, request(t, s.URL("/hangs")), endpoint.Settings{}, time.Second))
	require.Equal(t, ReasonTimeout, r.Reason)
	require.Equal(t, "no complete answer within 1 s", r.Error)
}

// tokenServer is an OAuth 2 server and, at /hook, an endpoint that takes its tokens.
type tokenServer struct {
	*httptest.Server
	answer  func(w http.ResponseWriter, n int64) // of the n-th fetch; nil: a token
	fetches atomic.Int64
	posts   atomic.Int64

	mu    sync.Mutex
	valid string // the token that /hook takes; "": any
	seen  []string
	forms []url.Values
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	s := &tokenServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		n := s.fetches.Add(1)
		_ = r.ParseForm()
		s.mu.Lock()
		s.forms = append(s.forms, r.Form)
		s.mu.Unlock()
		if s.answer != nil {
			s.answer(w, n)
			return
		}
		id, secret, ok := r.BasicAuth()
		if !ok || id != "client" || secret != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token%d", n), "token_type": "bearer", "expires_in": 3600})
	})
	mux.HandleFunc("/hook", func(w http.ResponseWriter, r *http.Request) {
		s.posts.Add(1)
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, r.Header.Get("Authorization"))
		if s.valid != "" && r.Header.Get("Authorization") != s.valid || len(body) == 0 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) settings(secret string) endpoint.Settings {
	return endpoint.Settings{Auth: &endpoint.Auth{
		Type: endpoint.OAuth2, TokenURL: s.URL + "/token", ClientID: "client", ClientSecret: secret, Scopes: []string{"hooks", "write"},
	}}
}

func (s *tokenServer) valids(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = token
}

func TestATokenIsFetchedOnceAndKept(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t)
	p := poster(t, time.Minute)
	r := withSettings(t, request(t, s.URL+"/hook"), s.settings("s3cret"), 0)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			each := r
			each.Header = http.Header{}
			if result := p.Post(t.Context(), each); !result.Delivered {
				t.Error(result.Error)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 1, s.fetches.Load(), "attempts share one fetch")
	require.Equal(t, "client_credentials", s.forms[0].Get("grant_type"))
	require.Equal(t, "hooks write", s.forms[0].Get("scope"))
	for _, token := range s.seen {
		require.Equal(t, "Bearer token1", token)
	}
	// Another webhook with the same credentials has a token of its own, and so has the
	// webhook itself after a change.
	other, err := NewEndpoint([16]byte{}, [16]byte{2}, &endpoint.Settings{Auth: s.settings("s3cret").Auth}, 0)
	require.NoError(t, err)
	r.Endpoint, r.Header = other, http.Header{}
	require.True(t, p.Post(t.Context(), r).Delivered)
	require.EqualValues(t, 2, s.fetches.Load())
	p.Forget([16]byte{2}, func() *Endpoint { return other })
	r.Header = http.Header{}
	require.True(t, p.Post(t.Context(), r).Delivered)
	require.EqualValues(t, 2, s.fetches.Load(), "nothing has changed")
	p.Forget([16]byte{2}, func() *Endpoint { return nil })
	r.Header = http.Header{}
	require.True(t, p.Post(t.Context(), r).Delivered)
	require.EqualValues(t, 3, s.fetches.Load())
}

func TestATokenThatIsRefusedIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t)
	p := poster(t, time.Minute)
	post := func() Result {
		return p.Post(t.Context(), withSettings(t, request(t, s.URL+"/hook"), s.settings("s3cret"), 0))
	}
	require.True(t, post().Delivered)
	s.valids("Bearer token2") // the first one was revoked
	require.True(t, post().Delivered)
	require.EqualValues(t, 2, s.fetches.Load())
	require.EqualValues(t, 3, s.posts.Load())

	s.valids("Bearer none") // every token is refused
	r := post()
	require.Equal(t, http.StatusUnauthorized, r.StatusCode)
	require.EqualValues(t, 5, s.posts.Load(), "one repetition in an attempt")
	for range 50 {
		post()
	}
	require.LessOrEqual(t, s.fetches.Load(), int64(tokenRefreshes+2), "fetches are bounded")
}

func TestATokenThatCannotBeHadIsAReasonOfItsOwn(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	for name, c := range map[string]struct {
		answer  func(w http.ResponseWriter, n int64)
		timeout time.Duration
		text    string
	}{
		"an error": {func(w http.ResponseWriter, _ int64) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"hunter2 is wrong"}`)
		}, 0, `it answered 400 and the error "invalid_client"`},
		"500": {func(w http.ResponseWriter, _ int64) { http.Error(w, "hunter2", http.StatusInternalServerError) }, 0, "it answered 500"},
		"a redirect": {func(w http.ResponseWriter, _ int64) {
			w.Header().Set("Location", "/hook")
			w.WriteHeader(http.StatusFound)
		}, 0, "redirects are not followed"},
		"no JSON":     {func(w http.ResponseWriter, _ int64) { _, _ = io.WriteString(w, "<html>hunter2") }, 0, "holds no token"},
		"no token":    {func(w http.ResponseWriter, _ int64) { _, _ = io.WriteString(w, `{"token":"hunter2"}`) }, 0, "holds no token"},
		"too long":    {func(w http.ResponseWriter, _ int64) { writeToken(w, strings.Repeat("x", 20<<10)) }, 0, "8192 bytes"},
		"no end":      {func(w http.ResponseWriter, _ int64) { writeToken(w, strings.Repeat("x", 4<<20)) }, 0, "holds no token"},
		"a line feed": {func(w http.ResponseWriter, _ int64) { writeToken(w, "hunter2\r\nX-Evil: 1") }, 0, "no valid header"},
		"slow":        {func(http.ResponseWriter, int64) { <-hold }, time.Second, "within the time of the attempt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTokenServer(t)
			s.answer = c.answer
			if c.timeout > 0 {
				t.Cleanup(func() { close(hold) }) // before the server closes
			}
			r := poster(t, time.Minute).Post(t.Context(), withSettings(t, request(t, s.URL+"/hook"), s.settings("s3cret"), c.timeout))
			require.Equal(t, ReasonToken, r.Reason)
			require.Contains(t, r.Error, c.text)
			require.NotContains(t, r.Error+r.Detail, "hunter2")
			require.False(t, r.Delivered)
			require.False(t, r.Overload())
			require.Zero(t, s.posts.Load(), "nothing is sent without a token")
		})
	}
}

func writeToken(w http.ResponseWriter, token string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "bearer"})
}

func TestAnExpiredTokenIsFetchedAnew(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t)
	s.answer = func(w http.ResponseWriter, n int64) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"short%d","token_type":"Bearer","expires_in":-5}`, n)
	}
	p := poster(t, time.Minute)
	for range 3 {
		require.True(t, p.Post(t.Context(), withSettings(t, request(t, s.URL+"/hook"), s.settings("s3cret"), 0)).Delivered)
	}
	require.Equal(t, []string{"Bearer short1", "Bearer short2", "Bearer short3"}, s.seen)
}

func TestATokenIsAskedForOnlyWhereAPostMayGo(t *testing.T) {
	t.Parallel()
	tokens, hook := newTokenServer(t), sink.New(t)
	guarded := NewPoster(Config{Timeout: time.Minute, UserAgent: "test", AllowHTTP: true})
	t.Cleanup(guarded.Close)
	r := guarded.Post(t.Context(), withSettings(t, request(t, hook.URL("/a")), tokens.settings("s3cret"), 0))
	require.Equal(t, ReasonToken, r.Reason)
	require.Contains(t, r.Error, "Config.AllowNetworks")
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	onlyTLS := NewPoster(Config{Timeout: time.Minute, UserAgent: "test", AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(onlyTLS.Close)
	r = onlyTLS.Post(t.Context(), withSettings(t, request(t, secure.URL), tokens.settings("s3cret"), 0))
	require.Equal(t, ReasonToken, r.Reason)
	require.Contains(t, r.Error, "Config.AllowHTTP")
	require.Zero(t, tokens.fetches.Load())
	require.Zero(t, hook.Count())
}

// pair writes a certificate of an authority and returns certificate, key and CA as PEM.
func pair(t *testing.T, a *tlstest.Authority, name string, serial int64) (cert, key, ca string) {
	t.Helper()
	f := tlstest.In(t.TempDir(), name)
	a.Write(f, serial)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	return read(f.Cert), read(f.Key), read(f.CA)
}

func TestAPrivateCAAndAClientCertificateReachAServerThatAsksForThem(t *testing.T) {
	t.Parallel()
	servers, clients := tlstest.New(t), tlstest.New(t)
	cert, key, ca := pair(t, servers, "server", 7)
	mine, mineKey, clientCA := pair(t, clients, "client", 42)
	loaded, err := tls.X509KeyPair([]byte(cert), []byte(key))
	require.NoError(t, err)
	known := x509.NewCertPool()
	known.AppendCertsFromPEM([]byte(clientCA))
	var serial atomic.Int64
	for _, h2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			serial.Store(r.TLS.PeerCertificates[0].SerialNumber.Int64())
		}))
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{loaded}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known}
		server.EnableHTTP2 = h2
		server.Config.ErrorLog = nil
		server.StartTLS()
		t.Cleanup(server.Close)
		p := poster(t, time.Minute)
		post := func(s endpoint.Settings) Result {
			return p.Post(t.Context(), withSettings(t, request(t, server.URL), s, 0))
		}
		require.Equal(t, ReasonTLS, post(endpoint.Settings{}).Reason, "the system does not trust the server")
		// TLS 1.3 refuses a client after its handshake, when the request is on its way.
		for range 20 {
			r := post(endpoint.Settings{CA: ca})
			require.Equal(t, ReasonTLS, r.Reason, "the server asks for a certificate, HTTP/2 %t: %s", h2, r.Detail)
		}
		auth := &endpoint.Auth{Type: endpoint.MTLS, Certificate: mine, PrivateKey: mineKey}
		require.Equal(t, ReasonTLS, post(endpoint.Settings{Auth: auth}).Reason)
		r := post(endpoint.Settings{Auth: auth, CA: ca})
		require.True(t, r.Delivered, r.Error)
		require.EqualValues(t, 42, serial.Load())
		foreign, foreignKey, _ := pair(t, servers, "foreign", 43)
		r = post(endpoint.Settings{CA: ca, Auth: &endpoint.Auth{Type: endpoint.MTLS, Certificate: foreign, PrivateKey: foreignKey}})
		require.False(t, r.Delivered, "a changed certificate is presented at once, not over the connection of before")
	}
}

func TestOwnConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	p := poster(t, time.Minute)
	for i := range maxOwn + 10 {
		e, err := NewEndpoint([16]byte{}, [16]byte{byte(i), byte(i >> 8)}, &endpoint.Settings{Auth: &endpoint.Auth{Type: endpoint.OAuth2, ClientID: "c"}}, 0)
		require.NoError(t, err)
		_, err = p.owns.of(e)
		require.NoError(t, err)
	}
	require.Len(t, p.owns.byID, maxOwn)
}
