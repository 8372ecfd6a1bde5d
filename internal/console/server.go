package console

import (
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/openid"
)

// Base is the path below which the console is served.
const Base = "/console"

// server holds what the handlers work with.
type server struct {
	api      http.Handler
	sessions *sessions
	attempts *attempts
	guesses  *attempts      // of portal links that don't exist
	portal   *http.ServeMux // the pages of portal links
	streams  *openStreams
	origin   *http.CrossOriginProtection
	proxies  []netip.Prefix // whose X-Forwarded-For is believed
	openid   *openid.Client // nil: sign-in by API key alone
	log      *zap.Logger
	metrics  *metrics
	assets   *assets
	pages    pages
	// mux has the routes of pages; routes lists them without the base.
	mux    *http.ServeMux
	routes []string
	// watched are the patterns of mux whose pages have a live part.
	watched map[string]bool
	// stopping is closed when the process stops.
	stopping <-chan struct{}
}

// address is where a request comes from.
func (s *server) address(r *http.Request) netip.Addr { return api.ClientAddress(r, s.proxies) }
