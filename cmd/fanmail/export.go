package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

type exportCmd struct {
	reading
	span
	What string `default:"all" enum:"all,configuration" help:"all, or configuration: without events and messages."`
	Out  string `type:"path" placeholder:"FILE" help:"File to write, which must not exist; without it, standard output."`
}

// Run writes the export. A file appears only when the export is whole.
func (c *exportCmd) Run(ctx context.Context, s *session) error {
	query := queryOf("what", c.What)
	if err := c.set(query); err != nil {
		return err
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var counts map[string]int64
	take := func(to io.Writer) (err error) {
		counts, err = api.Export(ctx, query, to)
		return err
	}
	if c.Out == "" {
		err = take(s.out)
	} else {
		err = writeWhole(c.Out, take)
	}
	if err != nil {
		return err
	}
	s.note(fmt.Sprintf("exported %d event types, %d domains, %d agents, %d webhooks, %d events and %d messages; secrets, keys and raw mails are not in it",
		counts["event_type"], counts["domain"], counts["agent"], counts["webhook"], counts["event"], counts["message"]))
	return nil
}

// writeWhole writes a file that only its owner may read, under another name until it is whole. It replaces no file.
func writeWhole(name string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("--out: %s exists; name another file, or remove it", name)
		}
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // with the mode 0600
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() {
		_ = part.Close()
		if rm := os.Remove(part.Name()); err == nil && rm != nil {
			err = rm
		}
	}()
	if err := write(part); err != nil {
		return err
	}
	if err := errors.Join(part.Sync(), part.Close()); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	// A link fails where a file of the name has come up meanwhile; a rename would replace it.
	if err := os.Link(part.Name(), name); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}
