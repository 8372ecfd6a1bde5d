// Command publisher relays the outbox to the broker.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("publisher", "Relays the outbox to the broker.", "127.0.0.1:9101", app.RunPublisher))
}
