// Package e2e tests all of Fanmail at once: it runs the four built commands as
// processes against a durable Postgres and a NATS of their own, kills them, and
// counts what arrives; and it sends the mail that nobody would write through
// one process, and compares what comes out with what went in.
package e2e
