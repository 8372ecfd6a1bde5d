// Package migrations brings a database to the schema that this build of
// Fanmail was written for.
//
// Migrations are numbered, embedded and forward only. Each is safe while the
// release before it still runs: it adds, and leaves to a later release what
// takes away. [Up] may be called by many processes at once; an advisory lock
// lets one of them work. [Check] refuses a database that is older than the
// binary needs or newer than it knows, and says what to do.
package migrations
