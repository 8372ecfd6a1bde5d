package attempt

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/fanmail-dev/fanmail/internal/setting"
)

// hostNames maps host names as browsers do for a lookup. Underscores are allowed: hosts
// of private networks have them.
var hostNames = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.StrictDomainName(false), idna.VerifyDNSLength(true))

// NormalizeURL returns the form of a webhook's URL that is stored, shown and sent:
//
//   - white space around it is removed;
//   - scheme and host are lower case, and the host is in the ASCII form of IDNA;
//   - a default port and a final dot of the host are left out;
//   - bytes that RFC 3986 does not allow in a path or a query are escaped.
//
// It is idempotent. It refuses hosts and ports that the guard would not dial; names are
// resolved and judged at each attempt. The error says what is wrong with the URL, and
// shows no part of it.
func (g Guard) NormalizeURL(raw string, allowHTTP bool) (string, error) {
	scheme, rest, err := split(raw)
	if err != nil {
		return "", err
	}
	if scheme != "https" && scheme != "http" {
		return "", errors.New("must be an https URL")
	}
	if scheme == "http" && !allowHTTP {
		return "", errors.New(setting.Named("must be an https URL; plain http is off (FANMAIL_ALLOW_HTTP)"))
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, err := g.authority(scheme, rest[:end])
	if err != nil {
		return "", err
	}
	path, query, hasQuery := strings.Cut(rest[end:], "?")
	out := scheme + "://" + authority + escape(path, "/")
	if hasQuery {
		out += "?" + escape(query, "/?")
	}
	if _, err := url.Parse(out); err != nil {
		return "", errHost
	}
	return out, nil
}

// NormalizeBroker does the same for the URL of a NATS broker: a scheme, a host and a port.
func (g Guard) NormalizeBroker(raw string, allowPlain bool) (string, error) {
	scheme, rest, err := split(raw)
	if err != nil {
		return "", err
	}
	if !brokerScheme(scheme) {
		return "", errors.New("must be the URL of a NATS broker, such as tls://broker.example.com:4222")
	}
	if scheme == "nats" && !allowPlain {
		return "", errors.New(setting.Named("must begin with tls://; brokers without TLS are off, as plain http is (FANMAIL_ALLOW_HTTP)"))
	}
	host, path, _ := strings.Cut(rest, "/")
	if path != "" || strings.Contains(host, "?") {
		return "", errors.New("must end after the host and the port; the subject has a field of its own")
	}
	authority, err := g.authority(scheme, host)
	if err != nil {
		return "", err
	}
	return scheme + "://" + authority, nil
}

// toBroker reports whether a URL is that of a NATS broker.
func toBroker(u *url.URL) bool { return brokerScheme(u.Scheme) }

func brokerScheme(scheme string) bool { return scheme == "nats" || scheme == "tls" }

// encrypted reports whether what is sent to a URL is encrypted, whatever the other side says.
func encrypted(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "tls" }

// BrokerURL reports whether a URL as it was typed is meant for a broker.
func BrokerURL(raw string) bool {
	scheme, _, err := split(raw)
	return err == nil && brokerScheme(scheme)
}

// split returns the scheme of a URL, in lower case, and what follows it.
func split(raw string) (scheme, rest string, err error) {
	raw = strings.TrimFunc(raw, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r >= '\u200b' && r <= '\u200f' })
	switch {
	case !utf8.ValidString(raw):
		return "", "", errors.New("is not valid UTF-8")
	case strings.ContainsFunc(raw, unicode.IsControl):
		return "", "", errors.New("holds a control character")
	case strings.Contains(raw, "#"):
		return "", "", errors.New("must not hold a fragment")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme == "" || strings.ContainsAny(scheme, "/?@") {
		return "", "", errHost
	}
	return scheme, rest, nil
}

var errHost = errors.New("is not an absolute URL with a host")

// authority normalises and judges a host and its port.
func (g Guard) authority(scheme, raw string) (string, error) {
	if strings.Contains(raw, "@") {
		return "", errors.New("must not hold credentials")
	}
	host, port := raw, ""
	if i := strings.LastIndexByte(raw, ':'); i >= 0 && !strings.HasSuffix(raw, "]") {
		host, port = raw[:i], raw[i+1:]
	}
	number := map[string]uint64{"http": 80, "https": 443, "nats": 4222, "tls": 4222}[scheme]
	standard := number
	if port != "" {
		var err error
		if number, err = strconv.ParseUint(port, 10, 64); err != nil && !errors.Is(err, strconv.ErrRange) || strings.Trim(port, "0123456789") != "" {
			return "", errors.New("has a port that is not a number")
		}
		if number < 1 || number > 65535 {
			return "", errors.New("has a port that is not from 1 to 65535")
		}
	}
	if !g.allowsPort(uint16(number)) { //nolint:gosec // checked above
		return "", fmt.Errorf("names the port %d; %s", number, setting.Named("80, 443 and those above 1023 are allowed, and the operator can allow others (FANMAIL_ALLOW_PORTS)"))
	}
	host, err := g.host(host)
	if err != nil {
		return "", err
	}
	if number == standard {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(number, 10), nil
}

// host normalises and judges a host: a name, an IPv4 address, or an IPv6 address in
// brackets.
func (g Guard) host(raw string) (string, error) {
	if inner, ok := strings.CutPrefix(raw, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !strings.HasSuffix(inner, "]") || !addr.Is6() {
			return "", errHost
		}
		return g.address(addr)
	}
	if strings.Contains(raw, "%") { // a name in UTF-8 that was escaped
		plain, err := url.PathUnescape(raw)
		if err != nil || !utf8.ValidString(plain) {
			return "", errHost
		}
		raw = plain
	}
	if trimDot(raw) == "" {
		return "", errHost
	}
	host, err := hostNames.ToASCII(trimDot(strings.ToLower(raw)))
	if err != nil {
		return "", errors.New("has a host that is not a valid domain name")
	}
	host = trimDot(host) // of another script's full stop
	if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return "", errors.New("has a host that is not a valid domain name")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.address(addr)
	}
	if isNumber(host[strings.LastIndexByte(host, '.')+1:]) {
		// Some resolvers read 127.1, 2130706433 and 0x7f.1 as addresses, as inet_aton does.
		return "", errors.New("has a number as its host; write an IPv4 address as four decimal numbers, such as 192.0.2.1")
	}
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !g.Reachable(netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		return "", errors.New(setting.Named("names this machine; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)"))
	}
	return host, nil
}

func (g Guard) address(addr netip.Addr) (string, error) {
	if addr = addr.Unmap(); !g.Reachable(addr) {
		return "", errors.New(setting.Named("names an address that is not public; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)"))
	}
	if addr.Is6() {
		return "[" + addr.String() + "]", nil
	}
	return addr.String(), nil
}

// trimDot removes one final dot, which means that no search domain is added.
func trimDot(host string) string { return strings.TrimSuffix(host, ".") }

// isNumber reports whether inet_aton reads a label as a number.
func isNumber(label string) bool {
	if digits, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// escape escapes the bytes that are not allowed in a path or a query, and each % that
// begins no escape. also are allowed characters beside those of a path's segment.
func escape(s, also string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]),
			'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9', strings.IndexByte("-._~!$&'()*+,;=:@"+also, c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
