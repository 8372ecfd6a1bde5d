package export

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// checkSecrets refuses endpoints and headers that do not parse. The SDK would
// print them, and they may contain a password or a token.
func checkSecrets(env func(string) string) error {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if err := checkEndpoint(secret.Text(strings.TrimSpace(env(name)))); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		for header := range strings.SplitSeq(env(name), ",") {
			if header = strings.TrimSpace(header); header == "" {
				continue
			}
			key, value, found := strings.Cut(header, "=")
			if _, err := url.PathUnescape(value); err != nil || !found || !isToken(strings.TrimSpace(key)) {
				return fmt.Errorf("%s must be name=value pairs with commas between them, and percent-encoded values; it is not shown, because it may contain a token", name)
			}
		}
	}
	return nil
}

// checkEndpoint accepts a URL, and HOST:PORT, which gRPC takes too.
func checkEndpoint(endpoint secret.Text) error {
	if endpoint == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(endpoint.Reveal()); err == nil && !strings.ContainsAny(endpoint.Reveal(), "@/?#%") {
		return nil
	}
	u, err := endpoint.URL("http", "https")
	if err == nil && u.Host == "" {
		err = errors.New("has no host; it must be a URL such as http://127.0.0.1:4318")
	}
	return err
}

// isToken says whether name is a name of an HTTP header.
func isToken(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r > '~' || r <= ' ' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) < 0
}
