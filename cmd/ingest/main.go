// Command ingest takes mail in over SMTP, and events from the broker.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("ingest", app.RunIngest))
}
