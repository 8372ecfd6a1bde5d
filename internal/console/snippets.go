package console

import (
	"embed"
	"fmt"
)

// The receivers of docs/how-to/receive-webhooks.md, which the tests run.
//
//go:embed snippets/*.txt
var snippetFiles embed.FS

// snippet is a receiver that verifies, in one language.
type snippet struct{ Language, ID, Code string }

// snippets are all of them.
var snippets = func() []snippet {
	list := []snippet{{Language: "Go", ID: "go"}, {Language: "Node", ID: "js"}, {Language: "Python", ID: "py"}}
	for i := range list {
		code, err := snippetFiles.ReadFile("snippets/receiver." + list[i].ID + ".txt")
		if err != nil {
			panic(fmt.Sprintf("read a snippet: %v", err)) // it is compiled in
		}
		list[i].Code = string(code)
	}
	return list
}()
