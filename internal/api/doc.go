// Package api serves Fanmail's REST API: one net/http handler and the OpenAPI
// document that is generated from it. Its handlers translate between HTTP and
// the packages that hold the rules: subscribers, replay, outbox and others.
//
// It guarantees:
//
//   - A tenant's key sees its own tenant only. On every route, another tenant's
//     id gets the same answer as an id that does not exist.
//   - A key and a webhook's signing secret are shown once, in the response to
//     the request that created them. The database keeps only hashes of keys. The
//     response to a request with an Idempotency-Key is stored for 24 hours,
//     encrypted with a key that is derived from the caller's API key.
//   - A request with an Idempotency-Key takes effect once: its change and its
//     stored response are one transaction. Within 24 hours, the same request
//     with the same API key gets the same response. A failed request stores
//     nothing, so that the client can send it again.
//   - An error is an RFC 9457 problem that names the wrong field. It never shows
//     a message of the database. Unknown fields are rejected, in bodies and in
//     queries.
//   - A list's cursor neither skips nor repeats a row when rows are added
//     meanwhile.
//   - A key's rate limit applies to its own requests, in each process. Requests
//     of other keys do not count.
//   - One request reads a bounded amount of history, whatever its filters.
//   - POST /v1/events answers after the event and its outbox row are committed.
//
// After a commit, a change publishes a wake-up hint to the other processes.
// Nothing depends on the hint's arrival.
package api
