// Package e2e tests all of Fanmail at once. It runs the four built commands as processes on a durable
// Postgres and a NATS of their own, kills them, and counts what arrives. It also sends hostile mail
// through one process, and compares what comes out with what went in.
package e2e
