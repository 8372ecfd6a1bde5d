// Package testdb gives tests Postgres databases of their own on a real server.
//
// It guarantees:
//
//   - One private server is started for a test process, unless another server is
//     given, and it ends with the process, however that ends.
//   - Each database is migrated, empty, and used by nobody else.
package testdb
