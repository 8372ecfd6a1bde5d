// Package openid signs people in by OpenID Connect, and says what they may do.
//
// It guarantees:
//
//   - Nothing is asked of the provider before somebody signs in: a provider that is away
//     keeps no process from starting, and is asked again at the next sign-in.
//   - A sign-in uses state, nonce and PKCE. Its ID token is verified by the provider's keys.
//   - A person without a group of the mapping gets nothing.
package openid
