// Command api serves the HTTP API.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("api", app.RunAPI))
}
