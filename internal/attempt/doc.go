// Package attempt makes one POST to an endpoint that a tenant named, or publishes one
// message at a broker, and says how it went. Both delivery paths use it: webhooks of subscribers and the
// agents' own webhooks.
//
// It guarantees:
//
//   - An address is checked when it is dialled, after DNS. Private, loopback,
//     link-local and other special addresses are never reached unless the
//     operator allows their network. So it is behind a proxy, unless the operator
//     declares that the proxy filters. The environment's proxy is not used.
//   - Only 2xx is success; its status line is enough. Redirects are never followed.
//   - A kept-alive connection that the server closes costs no attempt. Connections
//     are replaced after some minutes.
//   - A bounded part of the answer is read. What is kept of it is valid UTF-8
//     that Postgres takes.
//   - Every failure has a reason of a closed set and an error of one line. A
//     time-out names its limit.
//   - Nothing is sent once the sender's lease has run out, even if the process
//     was paused while it dialled. Over HTTP/2 the header may still be sent.
//   - A message to a NATS broker is delivered when JetStream has stored it. Webhooks of a
//     tenant with the same credentials share a connection, through the same checks as
//     those of POSTs, and what a broker makes this process allocate is bounded. A
//     connection that the broker ends costs no attempt.
//   - What an [Endpoint] adds can't replace a header of the sender. A token is asked
//     for over connections with the same checks as a POST, and is kept in memory alone.
//
// Callers decide what is sent, to whom and when, and record the result.
package attempt
