package attempt

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAURLHasOneForm(t *testing.T) {
	t.Parallel()
	for typed, stored := range map[string]string{
		" https://hooks.example/in \n":           "https://hooks.example/in",
		"\ufeffhttps://hooks.example/in\u200b":   "https://hooks.example/in",
		"HTTPS://Hooks.EXAMPLE.:443":             "https://hooks.example",
		"https://hooks.example:/in":              "https://hooks.example/in",
		"https://hooks.example:08443/in":         "https://hooks.example:8443/in",
		"http://hooks.example:80/":               "http://hooks.example/",
		"http://hooks.example:443/":              "http://hooks.example:443/",
		"https://BÜCHER.example/a":               "https://xn--bcher-kva.example/a",
		"https://XN--BCHER-KVA.example/a":        "https://xn--bcher-kva.example/a",
		"https://b%C3%BCcher.example/a":          "https://xn--bcher-kva.example/a",
		"https://faß.example":                    "https://xn--fa-hia.example",
		"https://例え。テスト":                         "https://xn--r8jz45g.xn--zckzah",
		"https://ｈｏｏｋｓ．example/":                 "https://hooks.example/",
		"https://９３.184.216.34/":                 "https://93.184.216.34/",
		"https://[2606:4700:4700:0::1111]/":      "https://[2606:4700:4700::1111]/",
		"https://[::ffff:93.184.216.34]:8443/":   "https://93.184.216.34:8443/",
		"https://my_hook.example/":               "https://my_hook.example/",
		"https://hooks.example/a b/ü{x}|y^`\\\"": "https://hooks.example/a%20b/%C3%BC%7Bx%7D%7Cy%5E%60%5C%22",
		"https://hooks.example/?q=a b&r[]={ü}|":  "https://hooks.example/?q=a%20b&r%5B%5D=%7B%C3%BC%7D%7C",
		"https://hooks.example?100%&a=%zz&b=%2F": "https://hooks.example?100%25&a=%25zz&b=%2F",
		"https://hooks.example/%e4%BD/~!$&'()*+": "https://hooks.example/%e4%BD/~!$&'()*+",
		"https://hooks.example/a//b/../c?x=/?":   "https://hooks.example/a//b/../c?x=/?",
		"https://hooks.example/?to=u@x.example":  "https://hooks.example/?to=u@x.example",
	} {
		got, err := Guard{}.NormalizeURL(typed, true)
		require.NoError(t, err, typed)
		require.Equal(t, stored, got)
		again, err := Guard{}.NormalizeURL(got, true)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func TestURLsThatCanNotBeDialledAreRefusedAtTheDoor(t *testing.T) {
	t.Parallel()
	for typed, says := range map[string]string{
		"https://hooks.example:0/":                         "port that is not from 1 to 65535",
		"https://hooks.example:99999/":                     "port that is not from 1 to 65535",
		"https://hooks.example:99999999999999999999999/":   "port that is not from 1 to 65535",
		"https://hooks.example:-1/":                        "not a number",
		"https://hooks.example:８０８０/":                      "not a number",
		"https://hooks.example:25/":                        "port 25",
		"https://hooks.example:1023/":                      "Config.AllowPorts",
		"https://2130706433/":                              "number as its host",
		"https://127.1/":                                   "number as its host",
		"https://0x7f000001/":                              "number as its host",
		"https://0X7F.1/":                                  "number as its host",
		"https://0177.0.0.1/":                              "number as its host",
		"https://017700000001/":                            "number as its host",
		"https://127.0.0.1.1/":                             "number as its host",
		"https://127.0.0.08/":                              "number as its host",
		"https://hooks.256/":                               "number as its host",
		"https://１２７．１/":                                   "number as its host",
		"https://٢١٣٠٧٠٦٤٣٣/":                              "host",
		"https://１２７.0.0.1/":                               "not public",
		"https://①②⑦.⓪.⓪.①/":                               "",
		"https://127。0。0。1/":                               "not public",
		"https://127.0.0.1./":                              "not public",
		"https://%31%32%37.0.0.1/":                         "not public",
		"https://[::ffff:7f00:1]/":                         "not public",
		"https://[fe80::1%25eth0]/":                        "not public",
		"https://[2606:4700::1%25x]/":                      "not public",
		"https://168.63.129.16/":                           "not public",
		"https://ｌｏｃａｌｈｏｓｔ/":                               "names this machine",
		"https://a.LOCALHOST./":                            "names this machine",
		"https://a b.example/":                             "domain name",
		"https://a..example/":                              "domain name",
		"https://" + strings.Repeat("a", 64) + ".example/": "domain name",
		"https://xn--a.example/":                           "domain name",
		"https://a\\@b.example/":                           "credentials",
		"https://u:p@hooks.example/":                       "credentials",
		"https://hooks.example/#":                          "fragment",
		"https://hooks.example/a\tb":                       "control",
		"https://hooks.example/\xff":                       "UTF-8",
		"https:///in":                                      "with a host",
		"https://:8443/":                                   "with a host",
		"https://./":                                       "with a host",
		"https:hooks.example":                              "with a host",
		"//hooks.example/":                                 "with a host",
		"javascript://hooks.example/":                      "https URL",
		"https://[::1/":                                    "",
		"":                                                 "with a host",
	} {
		_, err := Guard{}.NormalizeURL(typed, true)
		require.ErrorContains(t, err, says, typed)
	}
	_, err := Guard{Ports: []uint16{25}}.NormalizeURL("https://hooks.example:25/", false)
	require.NoError(t, err)
	_, err = Guard{}.NormalizeURL("http://hooks.example/", false)
	require.ErrorContains(t, err, "Config.AllowHTTP")
}

// What the receiver sees of a URL: the Host header is the name that was looked up, and
// the request line is legal.
func TestAReceiverSeesTheNormalisedURL(t *testing.T) {
	t.Parallel()
	type seen struct{ host, uri string }
	got := make(chan seen, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- seen{r.Host, r.RequestURI} }))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	looked := make(chan string, 8)
	p := newPoster(Config{Timeout: time.Minute, AllowHTTP: true, AllowNetworks: loopback}, resolver(t, func(name string) []netip.Addr {
		looked <- name
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}))
	t.Cleanup(p.Close)
	to, err := Guard{}.NormalizeURL(" http://BÜCHER．Example:"+port+"/a b?q={ü}| ", true)
	require.NoError(t, err)
	u, err := url.Parse(to)
	require.NoError(t, err)
	r := request(t, to)
	r.URL = u
	result := p.Post(t.Context(), r)
	require.True(t, result.Delivered, result.Detail)
	require.Equal(t, "xn--bcher-kva.example", <-looked)
	require.Equal(t, seen{"xn--bcher-kva.example:" + port, "/a%20b?q=%7B%C3%BC%7D%7C"}, <-got)
}
