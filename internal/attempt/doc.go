// Package attempt is the way out to endpoints that tenants name: the guarded
// transport, and how an attempt is judged by its answer, or by the want of one.
//
// It guarantees:
//
//   - An address is checked at the moment it is dialled, after DNS: nothing
//     private, loopback, link-local or otherwise special is reached unless the
//     operator allows its network. The environment's proxies are not used.
//   - 2xx alone is success. Redirects are answers and never followed.
//   - Of an answer a small, fixed part is read, and what is kept of it is valid
//     UTF-8 that Postgres takes.
//   - Why an attempt failed is one of a closed set of reasons, and one line.
//
// Who is sent what, and when, is left to the callers.
package attempt
