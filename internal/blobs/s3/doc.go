// Package s3 is the blob store in a bucket of Amazon S3, or of a server that speaks its
// protocol.
//
// It guarantees:
//
//   - A blob is written by one request, so that an upload that breaks off leaves nothing
//     in the bucket.
//   - Content is sent as it is read, so that a large mail in a file is never in memory.
//   - No error contains a key of the account.
package s3
