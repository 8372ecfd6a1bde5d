// Command api serves the HTTP API.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("api", "Serves the HTTP API.", "127.0.0.1:9104", app.RunAPI))
}
