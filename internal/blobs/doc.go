// Package blobs says what a blob store is, and has the one in a folder. Large raw mails
// are kept in a blob store instead of the database. Package s3 has the store in an S3
// bucket.
//
// It guarantees:
//
//   - A blob is durable once [Store.Put] has returned nil, and is visible whole or not
//     at all.
//   - A store belongs to one database. [Owned] refuses every call until the store's mark
//     names its owner, so that no database removes the blobs of another.
//   - Errors say what was being done, with which key, and of which [Kind] the failure
//     is. They contain no credentials.
//
// Keys are paths with forward slashes that this program makes. They hold no text of a
// mail.
package blobs
