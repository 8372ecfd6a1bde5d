package console

import "net/http"

// Routes are the routes of a console's handler, as "METHOD /path".
func Routes(h http.Handler) []string { return h.(*server).routes }
