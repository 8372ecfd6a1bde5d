package console

import (
	"net/http"

	"go.uber.org/zap"
)

// Base is the path below which the console is served.
const Base = "/console"

// server holds what the handlers work with.
type server struct {
	api      http.Handler
	sessions *sessions
	attempts *attempts
	streams  *openStreams
	origin   *http.CrossOriginProtection
	log      *zap.Logger
	assets   *assets
	pages    pages
	// mux has the routes of pages; routes lists them without the base.
	mux    *http.ServeMux
	routes []string
	// stopping is closed when the process stops.
	stopping <-chan struct{}
}
