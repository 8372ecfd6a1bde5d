package console

import (
	"net/http"
	"net/url"
)

func (s *server) exportRoutes() {
	s.get("/export", func(c *call) error { return c.page("export", nil) })
	s.get("/export/{what}", s.export)
}

// export sends an export as a file: everything, or the configuration.
func (s *server) export(c *call) error {
	switch what := c.id("what"); what {
	case "all", "configuration":
		return c.sendFile("/v1/export", url.Values{"what": {what}}, "fanmail-"+what+".jsonl")
	default:
		return refused(http.StatusNotFound, "There is no such export.")
	}
}
