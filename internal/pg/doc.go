// Package pg opens Postgres connection pools with the settings that Fanmail's engine
// needs, and drops old partitions.
//
// The engine's statements join a batch of keys to partitioned tables. For each of them a
// nested loop over an index, with partitions pruned at run time, is the right plan at any
// table size. Hash joins and sequential scans are never right, but stale statistics may
// suggest them. Therefore the engine's connections switch them off.
//
// Plans are generic, and every connection makes them again after some seconds. A plan made
// for an empty table may read the whole table, because this costs no more than a lookup at
// that moment. Postgres would keep the plan while the table grows. The outbox is often
// empty, and every day begins with empty partitions.
//
// The pools also convert ids without the costs of Scan and Value.
package pg
