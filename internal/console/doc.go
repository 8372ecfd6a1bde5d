// Package console serves the console: pages that show what the HTTP API says, and forms
// that do what it does.
//
// It guarantees:
//
//   - A page reads and changes things through the API's own handler, as the principal of
//     its session. The console has no rights of its own; its SQL is on sessions alone.
//   - The key of a session is looked up for each request: a revoked key ends its sessions.
//   - Of a cookie's or a link's token the database holds a hash alone.
//   - A change needs the session's CSRF token, and comes from a page of the same origin.
//   - Every response has a Content-Security-Policy without inline script, inline style and
//     foreign origins. Pages are never stored by a cache.
//
// A noun of the API has one file and one page: webhooks.go and pages/webhooks.html. The file
// registers its routes in one method, which routes.go calls.
package console
