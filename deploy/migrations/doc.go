// Package migrations brings a database to the schema that this build of
// Fanmail was written for.
//
// Migrations are numbered, embedded and forward only. Each is safe while the
// release before it still runs: it adds, and leaves to a later release what
// takes away. [Up] may be called by many processes at once; an advisory lock
// lets one of them work.
//
// [Schema.Check] refuses a database that lacks a migration of the binary's. One
// that is newer it accepts, so that a process of the release before can start
// again amid an upgrade, or after it was taken back; unless a migration has
// marked the schema as one on which older binaries must not run. A migration
// that takes away what an earlier release still uses has to set that mark.
package migrations
