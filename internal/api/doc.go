// Package api is Fanmail's REST interface: one net/http handler, described by
// the OpenAPI document that is generated from it.
//
// It guarantees:
//
//   - A tenant's key sees its tenant alone. Somebody else's id is answered as
//     one that does not exist, on every route.
//   - A key and a webhook's signing secret are shown once, in the answer to the
//     request that made them. Keys are kept as hashes. (The answer to a request
//     with an Idempotency-Key is kept, secrets included, for 24 hours.)
//   - A request with an Idempotency-Key takes effect once: what it does and the
//     memory of its answer are one transaction. The same request again within
//     24 hours gets the same answer; one that failed left nothing and may be
//     made again.
//   - An error is an RFC 9457 problem whose errors name the field, and never
//     shows what the database said. A field that the interface does not know is
//     refused, in bodies and in queries.
//   - A list's cursor neither skips nor repeats a row, whatever is added
//     meanwhile.
//   - A key makes no more requests of one process than its rate limit allows;
//     what others do does not count against it.
//   - One request reads a bounded piece of history, whatever its filters.
//   - POST /v1/events answers after the event and its outbox row are committed.
//
// Changes give hints to the other processes after their commit; nothing
// depends on a hint's arrival.
package api
