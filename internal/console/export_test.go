package console

import "net/http"

// Routes are the routes of a console's handler, as "METHOD /path".
func Routes(h http.Handler) []string { return h.(*server).routes }

// PortalTexts returns the texts of the portal by language, and the page that uses them.
func PortalTexts() (texts map[string]map[string]string, page string) {
	b, _ := pageFiles.ReadFile("pages/portal.html")
	return portalTexts, string(b)
}
