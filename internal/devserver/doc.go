// Package devserver starts the private Postgres and the embedded NATS that `fanmail up` and the tests use.
//
// [StartPostgres] runs the machine's own Postgres binaries: those on the PATH, else the newest of the usual places. It
// guarantees:
//
//   - The server listens on loopback alone, and its data stays below the given directory.
//   - If the caller is root, the server runs as another user, because Postgres refuses to run as root.
//   - The server shuts down when the process that started it exits, also by SIGKILL.
//   - While nothing happens, no process wakes up to look.
//
// [StartNATS] runs nats-server with JetStream inside this process, on a real socket on loopback.
package devserver
