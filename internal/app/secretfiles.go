package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// fileSuffix ends the variable that names a file with a secret setting.
const fileSuffix = "_FILE"

// maxSecretBytes bounds such a file: keysets are the longest, at some kilobytes.
const maxSecretBytes = 64 << 10

// SecretFiles reads a setting that may hold a password from a file, if the setting's variable with _FILE at its end names
// one: FANMAIL_DATABASE_URL_FILE=/run/secrets/url. The last line break is not part of the text. A flag takes precedence;
// the variable and its file exclude each other. It does nothing for a setting whose _FILE is a setting of its own.
func SecretFiles() kong.Option {
	return kong.Resolvers(kong.ResolverFunc(func(c *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Target.Type() != reflect.TypeFor[secret.Text]() {
			return nil, nil //nolint:nilnil // package kong: not resolved here
		}
		for _, env := range flag.Envs {
			path := os.Getenv(env + fileSuffix)
			if path == "" || declares(c.Path, env+fileSuffix) {
				continue
			}
			if os.Getenv(env) != "" {
				return nil, wrong("--"+flag.Name, env+", "+env+fileSuffix, "exclude each other")
			}
			text, err := readSecret(path)
			if err != nil {
				return nil, wrong("--"+flag.Name, env+fileSuffix, err.Error())
			}
			return text, nil // package kong prints a secret.Text, and would take "(hidden)"
		}
		return nil, nil //nolint:nilnil // likewise
	}))
}

// declares reports whether a flag of the command line has the variable.
func declares(path []*kong.Path, env string) bool {
	for _, p := range path {
		for _, flag := range p.Flags {
			for _, e := range flag.Envs {
				if e == env {
					return true
				}
			}
		}
	}
	return false
}

// readSecret reads the text of a file. An error does not contain it.
func readSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("can't be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	switch text := strings.TrimRight(string(b), "\r\n"); {
	case err != nil:
		return "", fmt.Errorf("can't be read: %w", err)
	case len(b) > maxSecretBytes:
		return "", fmt.Errorf("has more than %d bytes", maxSecretBytes)
	case text == "":
		return "", errors.New("is an empty file")
	case strings.ContainsAny(text, "\r\n\x00"):
		return "", errors.New("has more than one line")
	default:
		return text, nil
	}
}
