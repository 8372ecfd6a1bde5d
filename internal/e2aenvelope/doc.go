// Package e2aenvelope reads and writes the envelope of e2a v0.4, the system that Fanmail's users come from.
//
//	{"event": type, "id": …, "created_at": …, "schema_version": …, "data": …}
//
// The data of email.received has addresses as plain strings, the raw mail in base64 (raw_message), and the results of
// the sender's authentication as headers (auth_headers). Events that were imported keep such an envelope. A webhook may
// ask for it until a date; see [Encode].
//
// It guarantees:
//
//   - [Encode] returns an envelope that is not Fanmail's as it is: an imported event is sent byte for byte.
//   - [DecodeReceived] reads what e2a stored, whichever of its releases wrote it. A field of another form than expected
//     is left out.
package e2aenvelope
