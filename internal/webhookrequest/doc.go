// Package webhookrequest makes the headers of the requests to webhooks.
//
// The dispatcher sends them. The API shows them for a past attempt, whose headers nobody has stored: it makes them by the
// same code, so that both agree.
package webhookrequest
