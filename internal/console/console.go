package console

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/openid"
)

// Options configure the console.
type Options struct {
	// API is the API's own handler, which is called in process. Required.
	API http.Handler
	// Pool is the database, for sessions alone. Required.
	Pool *pgxpool.Pool
	// OpenID signs people in beside API keys; nil: nobody.
	OpenID *openid.Client
	// Log takes log messages; nil: silent.
	Log *zap.Logger
	// Registerer takes the console's metrics. nil: they are not registered.
	Registerer prometheus.Registerer
	// TrustedProxies are the proxies whose X-Forwarded-For says where a request comes from.
	TrustedProxies []netip.Prefix
	// Stopping ends the open live streams when it is closed. nil: only their clients end them.
	Stopping <-chan struct{}
}

// New returns the handler of [Base] and everything below it. An error names the option
// that is wrong.
func New(o Options) (http.Handler, error) {
	if o.API == nil {
		return nil, errors.New("console: Options.API is required")
	}
	if o.Pool == nil {
		return nil, errors.New("console: Options.Pool is required")
	}
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func newServer(o Options) (*server, error) {
	files, err := newAssets()
	if err != nil {
		return nil, err
	}
	all, err := newPages()
	if err != nil {
		return nil, err
	}
	counted, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &server{
		metrics: counted,
		api:     o.API, sessions: &sessions{pool: o.Pool}, attempts: newAttempts(), guesses: newAttempts(), portal: http.NewServeMux(), streams: &openStreams{by: map[string]int{}},
		origin: http.NewCrossOriginProtection(), openid: o.OpenID, log: o.Log, assets: files, pages: all, mux: http.NewServeMux(), watched: map[string]bool{}, stopping: o.Stopping, proxies: o.TrustedProxies,
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.log = s.log.Named("console")
	s.register()
	return s, nil
}

// ServeHTTP answers a request for the console.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
				panic(p)
			}
			s.log.Error("a page panicked", loggedPath(r), zap.String("panic", withoutTokens(r, fmt.Sprint(p))), zap.Stack("stack"))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	if r.URL.Path == Base {
		http.Redirect(w, r, Base+"/", http.StatusSeeOther)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, Base+"/portal/"); ok {
		s.servePortal(w, r, rest)
		return
	}
	if at, ok := strings.CutPrefix(r.URL.Path, Base+"/assets/"); ok {
		s.assets.serve(w, at)
		return
	}
	if r.URL.Path == LinksPath {
		s.serveLinks(w, r)
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		if allowed := s.methods(r); allowed != "" {
			w.Header().Set("Allow", allowed)
			http.Error(w, "this page does not support the method", http.StatusMethodNotAllowed)
			return
		}
		s.serve(w, r, s.nowhere, true) //nolint:contextcheck // the request brings it
		return
	}
	s.mux.ServeHTTP(w, r)
}

// methods lists the methods that the request's path has a page for; empty if it has none for any.
func (s *server) methods(r *http.Request) string {
	var out []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		if other.Method = method; method == http.MethodGet {
			method += ", " + http.MethodHead
		}
		if _, pattern := s.mux.Handler(other); pattern != "" {
			out = append(out, method)
		}
	}
	return strings.Join(out, ", ")
}

// nowhere answers a request for a path without a page.
func (s *server) nowhere(*call) error {
	return refused(http.StatusNotFound, "There is no such page.")
}
