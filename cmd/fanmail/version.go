package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the version of this program.
func (c *versionCmd) Run(s *session) error {
	build := map[string]string{"version": app.Version(), "commit": app.Commit(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	if !c.JSON {
		s.say("fanmail %s (commit %s, %s, %s)", build["version"], build["commit"], build["go"], build["platform"])
		return nil
	}
	b, err := json.Marshal(build)
	if err != nil {
		return fmt.Errorf("encode the version: %w", err)
	}
	return s.printJSON(b)
}
