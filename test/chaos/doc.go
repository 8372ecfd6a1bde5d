// Command chaos breaks a whole Fanmail in every way that it knows, on a seeded
// schedule, and proves from the outside that its promises held.
//
// It runs the built commands as processes (two publishers, two dispatchers)
// against a durable Postgres and a cluster of three NATS nodes, each process
// behind proxies of its own, with receivers that it scripts. All that is
// offered, accepted, POSTed, answered and broken goes into a history, which
// package promise then judges.
//
// Three lanes of faults run side by side, with pauses: what is done to the
// processes (killed, paused, stopped, made to die at the points of package
// crash), to the database and the broker and the ways to them, and to the
// receivers. The same seed gives the same plan; what it meets differs by the
// machine's timing.
//
// Short runs build the product with shorter leases and retries, so that what a
// fault has left is made good within the run; --long runs it as it is.
//
// Disks that can be full or slow take FUSE, a clock that steps takes
// libfaketime; where the machine lacks them those faults are left out, and the
// run says so.
//
// With --soak it breaks nothing: a steady load for an hour, partitions that roll
// over, and everything that is used must stay flat.
//
// With --sabotage it breaks the product itself, on purpose, and succeeds only
// where the checker names the promise that this breaks.
package main
