// Package signature_test compares subscribers/signature with the reference library of Standard Webhooks.
package signature_test
