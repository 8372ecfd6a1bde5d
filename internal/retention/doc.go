// Package retention removes what is past its retention. The package that owns a
// table says by a [Rule] how long its rows are kept; [Run] applies the rules.
//
// It guarantees:
//
//   - A day's partition is dropped once its last row has been past its retention
//     for a day, so that the final state of a row can be read for a day.
//   - A partition that its rule still needs stays.
//   - Partitions are detached without blocking writers of the others.
//   - A tenant may keep rows for a shorter time than the installation ([OfTenants]).
//     Its rows are deleted in batches whose cost does not depend on what stays.
//   - A rule that fails does not keep the others from being applied.
//   - Rules may be applied again, and by several processes at once.
package retention
