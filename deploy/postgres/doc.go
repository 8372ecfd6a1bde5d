// Package postgres holds the roles of Fanmail's processes and their rights.
//
// roles.sql makes the roles, one for each process and one that owns the tables.
// [Grant] gives each exactly what grants.sql says and takes away whatever else it
// had; it may be repeated, and belongs after each migration. A test runs every
// process on its own role, so that grants.sql can neither lack a right that is
// used nor name a table that nobody uses.
package postgres
