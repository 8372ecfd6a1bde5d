// Command dispatcher fans events out to webhooks and delivers them.
package main

import (
	"os"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	os.Exit(app.Main("dispatcher", app.RunDispatcher))
}
