package endpoint

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// Limits of static headers. An error that a limit causes names it.
const (
	// MaxHeaders bounds their number.
	MaxHeaders = 20
	// MaxHeaderBytes bounds their names and values together. Many servers take 8 KiB
	// of headers.
	MaxHeaderBytes = 4 << 10
)

// hopByHop are headers that concern one connection (RFC 9110, 7.6.1), and such as
// change how a request is sent.
var hopByHop = []string{
	"Connection", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// reserved are headers that the sender sets itself, and reservedPrefixes begin such.
var (
	reserved         = []string{"Baggage", "Host", "Idempotency-Key", "Traceparent", "Tracestate", "User-Agent", "X-Idempotency-Key"}
	reservedPrefixes = []string{"Content-", "Fanmail-", "Webhook-", "X-E2a-"}
)

// canonical is a header's name as it is stored.
func canonical(name string) string { return http.CanonicalHeaderKey(name) }

// normalizeHeaders returns the headers by canonical name, nil if there are none.
func normalizeHeaders(headers map[string]string) (map[string]string, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	if len(headers) > MaxHeaders {
		return nil, fault("headers", "has %d headers; the limit is %d", len(headers), MaxHeaders)
	}
	out := make(map[string]string, len(headers))
	size := 0
	for name, value := range headers {
		value = strings.Trim(value, " \t")
		if err := checkHeader(name, value); err != nil {
			return nil, err
		}
		known := canonical(name)
		if _, twice := out[known]; twice {
			return nil, fault("headers", "names %q twice; upper and lower case do not differ", known)
		}
		out[known] = value
		size += len(name) + len(value)
	}
	if size > MaxHeaderBytes {
		return nil, fault("headers", "has %d bytes of names and values; the limit is %d", size, MaxHeaderBytes)
	}
	return out, nil
}

func checkHeader(name, value string) error {
	// CGI, WSGI and others read an underscore as a hyphen: Webhook_Signature would be the signature there.
	known := canonical(strings.ReplaceAll(name, "_", "-"))
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fault("headers", "names %q, which is no valid name of a header", clip(name))
	case slices.Contains(hopByHop, known):
		return fault("headers", "names %q, which concerns the connection and can't be set", clip(known))
	case slices.Contains(reserved, known), slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(known, p) }):
		return fault("headers", "names %q, which Fanmail sets itself", clip(known))
	case value == "":
		return fault("headers", "gives %q no value", clip(known))
	case !httpguts.ValidHeaderFieldValue(value), !utf8.ValidString(value):
		return fault("headers", "gives %q a value with a line break or another control character", clip(known))
	}
	return nil
}
