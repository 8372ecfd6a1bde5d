// Package promise judges a history: it decides, from the record alone, which of
// Fanmail's promises held in a chaos run.
//
// [Check] decides every [Promise] by name and says what broke it, with the
// ids to look for. It trusts nothing but the record: what a webhook should have
// had follows from what was accepted and from the webhooks' filters, never from
// the tables. A POST too many is a broken promise unless a fault of a dispatcher
// or of the database stands between it and the one before (a fault of the
// broker or of a receiver explains none), and even then it may not come while
// the first POST's lease must still have held, unless the database crashed.
package promise
