package console

import (
	"net/http"
	"strings"
)

// Routes are the routes of a console's handler, as "METHOD /path".
func Routes(h http.Handler) []string { return h.(*server).routes }

// Watched reports whether a route of [Routes] can be watched by /live.
func Watched(h http.Handler, route string) bool {
	method, path, _ := strings.Cut(route, " ")
	return h.(*server).watched[method+" "+Base+path]
}

// LivePages returns how many pages have a live part.
func LivePages(h http.Handler) (n int) {
	for _, p := range h.(*server).pages {
		if p.blocks["live"] {
			n++
		}
	}
	return n
}

// PortalTexts returns the texts of the portal by language, and the page that uses them.
func PortalTexts() (texts map[string]map[string]string, page string) {
	b, _ := pageFiles.ReadFile("pages/portal.html")
	return portalTexts, string(b)
}
