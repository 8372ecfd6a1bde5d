// Package e2e runs the four built commands as processes against a durable
// Postgres and a NATS of their own, kills them, and counts what arrives.
package e2e
