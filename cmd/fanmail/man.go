package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type manCmd struct {
	Dir string `arg:"" help:"Directory for the pages: fanmail.1, and fanmail-NAME.8 for each process."`
}

// Run writes the manual pages that the packages ship. It writes them itself: the generators for package kong know neither
// variables nor examples, and write the day into the page.
func (c *manCmd) Run(own *kong.Kong) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil { //nolint:gosec // everybody may read manual pages
		return fmt.Errorf("make the directory: %w", err)
	}
	if err := c.write("fanmail", "fanmail", 1, own.Model); err != nil {
		return err
	}
	for _, p := range app.Processes() {
		k, err := kong.New(p.Config, kong.Name(p.Name), kong.Description(p.Description), kong.Vars{"http_addr": p.HTTPAddr})
		if err != nil {
			return fmt.Errorf("define the flags of %s: %w", p.Name, err)
		}
		if err := c.write("fanmail-"+p.Name, p.Name, 8, k.Model); err != nil {
			return err
		}
	}
	return nil
}

// write writes the page of this name for a program.
func (c *manCmd) write(name, program string, section int, model *kong.Application) error {
	path := filepath.Join(c.Dir, fmt.Sprintf("%s.%d", name, section))
	if err := os.WriteFile(path, []byte(manPage(name, program, section, model)), 0o644); err != nil { //nolint:gosec // likewise
		return fmt.Errorf("write a manual page: %w", err)
	}
	return nil
}

// manPage is a page in the format of man(7).
func manPage(name, program string, section int, model *kong.Application) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d \"\" \"Fanmail %s\" \"Fanmail\"\n", strings.ToUpper(name), section, app.Version())
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n", roff(name), roff(model.Help), roff(program+" "+strings.TrimSpace(model.Summary())))
	b.WriteString(".SH OPTIONS\n")
	manFlags(&b, model.Node)
	if leaves := model.Leaves(true); len(leaves) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, leaf := range leaves {
			fmt.Fprintf(&b, ".SS %s\n%s\n", roff(leaf.Summary()), roff(leaf.Help))
			for _, p := range leaf.Positional {
				fmt.Fprintf(&b, ".TP\n.I %s\n%s\n", roff(p.Summary()), roff(p.Help))
			}
			manFlags(&b, leaf)
			for _, line := range examples(leaf) {
				fmt.Fprintf(&b, ".PP\n.nf\n$ %s\n.fi\n", roff(line))
			}
		}
	}
	b.WriteString(".SH ENVIRONMENT\nA flag takes precedence over its variable. For a setting that may hold a password, the variable with _FILE at its " +
		"end names a file with the setting.\n.SH SEE ALSO\nhttps://github.com/fanmail\\-dev/fanmail/blob/main/docs/README.md\n")
	return b.String()
}

// manFlags writes the node's own flags.
func manFlags(b *strings.Builder, n *kong.Node) {
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(f.String()), roff(f.Help))
		if len(f.Envs) > 0 {
			fmt.Fprintf(b, "Variable: %s.\n", roff(strings.Join(f.Envs, ", ")))
		}
	}
}

// roff escapes text: man(7) reads a backslash, and a dot or an apostrophe at the beginning of a line, as its own.
func roff(text string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
