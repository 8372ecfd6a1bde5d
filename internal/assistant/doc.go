// Package assistant is a server of the Model Context Protocol: through it an assistant
// finds events, says why one was not delivered, and, if that is allowed, sends again.
//
// It guarantees:
//
//   - It asks the HTTP API, with one key, and has no right that the key does not have.
//   - Without the permission to change, there is no tool that changes anything.
//   - Answers are bounded in size, and say where they were cut.
//   - What strangers wrote (mails, answers of endpoints) stands between marks that they
//     cannot know, as data. Bodies of events are left out unless they are asked for.
package assistant
