// Package pg opens Postgres pools the way Fanmail's hot statements want them.
//
// The engine's statements join a batch of keys to partitioned tables by their
// indexes. A nested loop over the index with run-time pruning is the right plan
// for each of them at any size of the tables, and a hash join or a sequential
// scan is right for none, whatever the statistics say at the moment; so those
// are switched off for the engine's connections, and plans are made once.
//
// It also drops the partitions of days that are over, without stopping the
// writers of the others.
package pg
