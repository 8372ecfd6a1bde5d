// Package promise decides from the history of a chaos run which of Fanmail's promises held.
//
// [Check] checks every [Promise] and reports each breach with the ids to look for. It trusts the history alone: what a
// webhook should have got follows from the accepted events and the webhooks' filters, never from the tables.
//
// An extra POST is a breach unless a fault of a dispatcher or of the database lies between it and the one before. A fault of
// the broker or of a receiver explains none. While the first POST's lease must still have held, only a crash of the database
// explains one.
package promise
