// Package capacity calculates what a load needs: processes, cores, memory,
// Postgres's WAL and disk, the broker's disk and network, and what saturates
// first. It also places tenants on several databases.
//
// It guarantees:
//
//   - Every constant is in [Measured] with its source, or its comment says that
//     it is an assumption. [FromBench] reads the figures from a benchmark of the
//     reader's own machine.
//   - It only calculates. It reads and changes no system.
//   - The place of a tenant depends only on its id and on the databases' names
//     and weights. A new database takes its share from the others and moves no
//     tenant between two others.
//
// It leaves it to others to measure the real system. Measure at half of the
// calculated capacity.
package capacity
