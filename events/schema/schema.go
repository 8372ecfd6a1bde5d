package schema

import "embed"

// Files are the schemas, "email.received.json" and its siblings.
//
//go:embed *.json
var Files embed.FS
