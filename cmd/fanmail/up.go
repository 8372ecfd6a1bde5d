package main

import (
	"context"
	"net/http"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
)

type upCmd struct {
	app.UpConfig
	LogLevel string `name:"log-level" env:"FANMAIL_LOG_LEVEL" default:"warn" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
}

func (c *upCmd) Run(ctx context.Context, s *session) error {
	log, err := c.logger()
	if err != nil {
		return err
	}
	c.Dir = s.dir
	c.Step = func(text string) { s.say("· %s", text) }
	c.Ready = func(creds app.Credentials) {
		s.say("Fanmail is up. Ctrl-C stops it; the data stays in %s.", c.Dir)
		introduce(ctx, s, c.Dir, creds)
	}
	defer app.RedirectStandardLog(log)()
	if err := app.RunUp(ctx, c.UpConfig, log); err != nil {
		return err
	}
	s.say("stopped")
	return nil
}

func (c *upCmd) logger() (*zap.Logger, error) {
	return app.Logging{Level: c.LogLevel, Format: "console"}.Logger()
}

// introduce prints the addresses, the path of the keys, and a link that signs in to the console.
func introduce(ctx context.Context, s *session, dir string, creds app.Credentials) {
	console := creds.API + "/console"
	if link, _, err := consoleLink(ctx, &apiclient.Client{Base: creds.API, Key: creds.TenantKey, Proxy: http.ProxyFromEnvironment}); err == nil {
		console = link
	}
	s.say("  console  %s", console)
	s.say("  API      %s   (documentation: %s/docs)", creds.API, creds.API)
	s.say("  SMTP     %s", creds.SMTP)
	s.say("  keys     %s", filepath.Join(dir, "credentials.json"))
}
