package attempt

import (
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/setting"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// post makes one attempt with a transport of the test.
func post(t *testing.T, target string, dns *net.Resolver, proxy *url.URL, allow ...string) Result {
	t.Helper()
	networks := make([]netip.Prefix, len(allow))
	for i, a := range allow {
		networks[i] = netip.MustParsePrefix(a)
	}
	p := newPoster(Config{Timeout: time.Minute, AllowHTTP: true, AllowNetworks: networks, Proxy: proxy, ProxyFilters: true}, dns)
	t.Cleanup(p.Close)
	return p.Post(t.Context(), request(t, target))
}

// closed is a port on which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// talks answers every connection with a text and closes it.
func talks(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = c.Write([]byte(text))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

var anyAddress = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]|:\d+`)

// What a tenant reads tells nothing of the network that Fanmail runs in.
func TestTheErrorsOfATenantTellNothingOfTheNetwork(t *testing.T) {
	t.Parallel()
	inside := resolver(t, func(name string) []netip.Addr {
		if strings.HasPrefix(name, "there.") {
			return []netip.Addr{netip.MustParseAddr("10.0.0.7")}
		}
		return nil
	})
	proxy, err := url.Parse("http://user:hunter2@" + closed(t))
	require.NoError(t, err)
	tlsServer := httptest.NewTLSServer(nil)
	t.Cleanup(tlsServer.Close)
	plain := sink.New(t)
	const local = "127.0.0.0/8"
	for name, r := range map[string]Result{
		"a name that is inside":      post(t, "http://there.example/", inside, nil),
		"a name that nobody has":     post(t, "http://nowhere.example/", inside, nil),
		"an address that is inside":  post(t, "http://10.0.0.7/", inside, nil),
		"a port that is closed":      post(t, "http://"+closed(t)+"/", nil, nil, local),
		"a proxy that is away":       post(t, "http://example.com/", nil, proxy, local),
		"a certificate of somebody":  post(t, tlsServer.URL, nil, nil, local),
		"plain HTTP where TLS is":    post(t, strings.Replace(plain.URL("/"), "http:", "https:", 1), nil, nil, local),
		"no answer":                  post(t, "http://"+talks(t, "")+"/", nil, nil, local),
		"an answer that is not HTTP": post(t, "http://"+talks(t, "220 mail.internal ESMTP\r\n")+"/", nil, nil, local),
		"an answer that breaks off":  post(t, "http://"+talks(t, "HTTP/1.1 20")+"/", nil, nil, local),
	} {
		require.False(t, r.Delivered, name)
		require.Empty(t, anyAddress.FindString(r.Error), "%s: %s", name, r.Error)
		for _, secret := range []string{"hunter2", "lookup", "dial", "read", "there", "internal", "proxy", "127."} {
			require.NotContains(t, r.Error, secret, name)
		}
		require.NotEmpty(t, r.Detail, "the operator's log has the cause: %s", name)
		require.NotContains(t, r.Detail, "hunter2", name)
		require.Contains(t, []string{setting.Named(textAddress), textCertificate, textTLS, textRefused, textReset, textAnswer, textConnection}, r.Error, name)
	}
	there, nowhere := post(t, "http://there.example/", inside, nil), post(t, "http://nowhere.example/", inside, nil)
	require.Equal(t, there.Error, nowhere.Error, "which names exist inside is not told")
	require.Equal(t, Shown(there.Reason), Shown(nowhere.Reason))
	require.NotEqual(t, there.Reason, nowhere.Reason, "metrics tell them apart")
	reason, text := describe(errors.New("something new at 10.0.0.7:53"))
	require.Equal(t, ReasonConnection, reason)
	require.Equal(t, textConnection, text)
}

func TestAStrangersTextIsOneLineThatHidesAndReordersNothing(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\r\nb\tc\u0085d":                        "a b c d",
		"\x00a\x1b[31mb":                          "a[31mb",
		"ok \u202Eabc\u202C \u2066x\u2069":        "ok abc x",
		"a\u200Bb\u200Dc\uFEFFd\u00ADe\U000E0041": "abcde",
		"\u202E \u2066":                           "",
		"\xffä日本":                                 "\uFFFDä日本",
		strings.Repeat("\u202E", 500) + "seen":    "seen",
		strings.Repeat("ä", 300):                  strings.Repeat("ä", 250),
	} {
		require.Equal(t, want, oneLine(errors.New(text)), "%q", text)
	}
}
