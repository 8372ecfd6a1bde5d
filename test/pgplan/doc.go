// Package pgplan records how Postgres ran a program's own statements: with their real parameters, in
// their real batches, on connections like production's. Tests use these plans to check that a hot
// statement uses its index and reads no more rows than it returns.
//
// The server's auto_explain module writes the plans. Loading it needs a superuser, which the tests'
// private Postgres provides.
package pgplan
