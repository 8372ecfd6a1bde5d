// Command dispatcher fans events out to webhooks and delivers them.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("dispatcher", "Fans events out to webhooks and delivers them.", "127.0.0.1:9102", app.RunDispatcher))
}
