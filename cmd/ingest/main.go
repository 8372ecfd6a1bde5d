// Command ingest takes mail in over SMTP, and events from the broker.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("ingest", "Takes mail in over SMTP, and events from the broker.", "127.0.0.1:9103", app.RunIngest))
}
