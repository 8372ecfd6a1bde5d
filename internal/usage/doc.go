// Package usage counts the events and bytes that tenants create on a UTC day, and
// holds them to their quotas. Every way into Fanmail counts here:
//
//   - a request reserves before its transaction and settles after it: [Counter.Reserve]
//   - what cannot be refused any more is reserved above the limit: [Counter.Force]
//   - events of a program's own transaction are added when they are fanned out:
//     [Counter.Add]
//
// A process counts in memory. Once a second it adds what it has counted to the table,
// for all tenants in one statement, and reads what the others have added. So no
// request waits for the table, except for the first of a tenant in a while. The price
// is that a tenant can exceed its quota by what the processes take within a second of
// each other, and that a process that is killed forgets the last second.
package usage
