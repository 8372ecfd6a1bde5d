package console

import (
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// secretQuery are the parameters of pages whose values sign somebody in.
var secretQuery = []string{"link", "code", "state"}

// portalOf splits the path of a portal's page into the link's token and the path after it.
func portalOf(r *http.Request) (token, inner string, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, Base+"/portal/")
	if !ok {
		return "", "", false
	}
	token, inner, _ = strings.Cut(rest, "/")
	return token, inner, true
}

// loggedPath is the path of a request for the log: without its query, and without the token of a portal link.
func loggedPath(r *http.Request) zap.Field {
	path := r.URL.Path
	if _, inner, ok := portalOf(r); ok {
		path = Base + "/portal/…/" + inner
	}
	return zap.String("path", path)
}

// withoutTokens is a text without the tokens that the request's URL holds.
func withoutTokens(r *http.Request, text string) string {
	token, _, _ := portalOf(r)
	query := r.URL.Query()
	for _, name := range secretQuery {
		if v := query.Get(name); v != "" {
			text = strings.ReplaceAll(text, v, "…")
		}
	}
	if token != "" {
		text = strings.ReplaceAll(text, token, "…")
	}
	return text
}
