package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// secretsCmd manages the encryption of secrets in the database.
type secretsCmd struct {
	NewKey newKeyCmd        `cmd:"" name:"new-key" help:"Make a keyset." example:"fanmail secrets new-key keyset.json"`
	AddKey addKeyCmd        `cmd:"" name:"add-key" help:"Add a key to the keyset; new secrets are encrypted with it." example:"fanmail secrets add-key --secrets-key-file keyset.json"`
	Rotate rotateSecretsCmd `cmd:"" help:"Encrypt all secrets in the database with the keyset's newest key, while processes run." example:"fanmail secrets rotate --secrets-key-file keyset.json"`
}

type newKeyCmd struct {
	File string `arg:"" optional:"" help:"File to create. Without it the keyset is printed in one line, for FANMAIL_SECRETS_KEY."`
	app.KeyService
}

// Run makes a keyset. It overwrites no file.
func (c *newKeyCmd) Run(ctx context.Context, s *session) error {
	text, err := c.NewKeyset(ctx)
	if err != nil {
		return err
	}
	if c.File == "" {
		s.say("%s", keyring.Base64(text))
		return nil
	}
	if err := keyring.CreateFile(c.File, text); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%s exists, and is not overwritten: without its keys what they encrypted is lost; `fanmail secrets add-key` adds a key to it", c.File)
		}
		return err
	}
	s.say("created %s", c.File)
	s.note("Keep a copy apart from the database's backups: without it the encrypted secrets are lost.")
	return nil
}

type addKeyCmd struct {
	app.Secrets
}

// Run adds a key to the file, or prints the new keyset.
func (c *addKeyCmd) Run(ctx context.Context, s *session) error {
	orDir(s, &c.Secrets)
	switch {
	case c.File != "" && c.Key != "":
		return errors.New("--secrets-key-file (FANMAIL_SECRETS_KEY_FILE) and --secrets-key (FANMAIL_SECRETS_KEY) exclude each other")
	case c.File != "":
		text, err := os.ReadFile(c.File)
		if err != nil {
			return fmt.Errorf("--secrets-key-file (FANMAIL_SECRETS_KEY_FILE): %w", err)
		}
		more, id, err := c.AddKey(ctx, text)
		if err != nil {
			return err
		}
		if err := keyring.ReplaceFile(c.File, more); err != nil {
			return err
		}
		s.say("added key %s to %s", id, c.File)
	case c.Key != "":
		more, id, err := c.AddKey(ctx, []byte(c.Key.Reveal()))
		if err != nil {
			return err
		}
		s.say("%s", keyring.Base64(more))
		s.note("Added key " + id + ": set FANMAIL_SECRETS_KEY to the line above and restart the processes.")
	default:
		return errors.New("set --secrets-key-file (FANMAIL_SECRETS_KEY_FILE) to the keyset; `fanmail secrets new-key` makes one")
	}
	s.note("Then run `fanmail secrets rotate`.")
	return nil
}

type rotateSecretsCmd struct {
	app.Database
	app.Secrets
	app.Logging
}

// Run encrypts all secrets. A later run goes on where a killed one stopped.
func (c *rotateSecretsCmd) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	databaseOrDir(s, &c.Database, &c.Secrets)
	r, err := app.RotateSecrets(ctx, c.Database, c.Secrets, log, func(r app.Rotation, step string) {
		if step == "" {
			step = fmt.Sprintf("encrypted the secrets of %d of %d webhooks", r.Done, max(r.Total, r.Done))
		}
		s.note(step)
	})
	if err != nil {
		return cutOff(ctx, r, err)
	}
	s.say("the secrets of %d webhooks were encrypted; all are encrypted with key %s", r.Done, r.Key)
	if len(r.Retired) > 0 {
		s.say("no secret in the database needs key %s any more; backups from before may", strings.Join(r.Retired, ", "))
	}
	return nil
}

// cutOff says where a rotation stands that was stopped, such as with Ctrl-C.
func cutOff(ctx context.Context, r app.Rotation, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case r.Total == 0:
		return errors.New("stopped before anything was encrypted; run `fanmail secrets rotate` again")
	}
	return fmt.Errorf("stopped: the secrets of %d of %d webhooks are encrypted, and all of them can be opened; run `fanmail secrets rotate` again to go on",
		r.Done, max(r.Total, r.Done))
}

// databaseOrDir uses the database and the keyset of `fanmail up` where no others are set. It reports whether the database
// is that of `fanmail up`.
func databaseOrDir(s *session, d *app.Database, c *app.Secrets) bool {
	orDir(s, c)
	creds, err := credentials(s)
	if err != nil || d.URL != "" {
		return false
	}
	d.URL = secret.Text(creds.DatabaseURL)
	return true
}

// orDir uses the keyset of `fanmail up` if no other is set and there is one.
func orDir(s *session, c *app.Secrets) {
	path := filepath.Join(s.dir, app.UpKeyFile)
	if c.File == "" && c.Key == "" && c.KMS == "" {
		if _, err := os.Stat(path); err == nil {
			c.File = path
		}
	}
}
