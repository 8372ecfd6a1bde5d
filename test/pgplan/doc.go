// Package pgplan shows how Postgres ran a program's own statements: with their
// real parameters, in their real batches, on connections such as production
// has. A test that a hot statement goes by its index, and reads no more rows
// than it was asked for, reads that off these plans.
//
// The server's auto_explain module writes the plans; loading it takes a
// superuser, which the tests' private Postgres gives.
package pgplan
