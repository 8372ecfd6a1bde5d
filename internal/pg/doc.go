// Package pg opens Postgres pools the way Fanmail's hot statements want them.
//
// The engine's statements join a batch of keys to partitioned tables by their
// indexes. A nested loop over the index with run-time pruning is the right plan
// for each of them at any size of the tables, and a hash join or a sequential
// scan is right for none, whatever the statistics say at the moment; so those
// are switched off for the engine's connections.
//
// Plans are made without regard to the parameters, and anew every second or
// two. A plan that is made while a table is empty may read it whole, since
// looking a batch's keys up costs as much just then, and it would go on doing so
// while the table fills: the outbox is empty whenever it can be, and each day
// begins with empty partitions.
//
// It also drops the partitions of days that are over, without stopping the
// writers of the others.
package pg
