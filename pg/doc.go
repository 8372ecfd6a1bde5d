// Package pg opens Postgres pools the way Fanmail's hot statements want them.
//
// The engine's statements join a batch of keys to partitioned tables by their
// indexes. A nested loop over the index with run-time pruning is the right plan
// for each of them at any size of the tables, and a hash join or a sequential
// scan is right for none, whatever the statistics say at the moment; so those
// are switched off for the engine's connections, and plans are made once. So is
// materialization: a plan made while a day's partition is empty would read the
// partition whole, once, where looking the batch's keys up is as cheap just
// then, and go on doing so as the day fills.
//
// It also drops the partitions of days that are over, without stopping the
// writers of the others.
package pg
