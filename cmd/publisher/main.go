// Command publisher relays the outbox to the broker.
package main

import (
	"os"
	"runtime"

	"github.com/fanmail-dev/fanmail/internal/app"
)

func main() {
	if _, set := os.LookupEnv("GOMAXPROCS"); !set {
		runtime.GOMAXPROCS(1) // the relay is one goroutine: with more, threads mostly wake each other
	}
	os.Exit(app.Main("publisher", app.RunPublisher))
}
