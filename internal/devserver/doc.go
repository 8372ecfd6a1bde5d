// Package devserver starts the private Postgres and the embedded NATS that
// `fanmail up` and the tests run on.
//
// [StartPostgres] uses the machine's own Postgres binaries, runs them as
// another user where the caller is root (Postgres refuses to be root), keeps
// its data under the directory that it was given and listens on loopback
// alone. The server dies with the process that started it, also by SIGKILL:
// a small supervisor holds the other end of a pipe.
//
// [StartNATS] runs nats-server in this process with JetStream on, behind a
// real socket on loopback.
package devserver
