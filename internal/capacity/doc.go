// Package capacity says on paper what a load needs: processes, cores, memory,
// Postgres's log and disk, the broker's disk and network, and what saturates
// first. And it places tenants over several databases.
//
// It guarantees:
//
//   - Every constant is in [Measured], with where it was measured, or is an
//     assumption and says so. [FromBench] takes them from a benchmark of one's
//     own machine.
//   - Nothing is read or changed: it is arithmetic.
//   - A tenant's place depends on its own name and on the databases' names and
//     weights alone. A database more takes its share from the others, and moves
//     no tenant between two others.
//
// It leaves to others to measure the real thing: at half of what the paper
// says a system is to be looked at, not waited for.
package capacity
