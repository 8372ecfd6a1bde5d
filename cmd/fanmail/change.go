package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// change sends the settings of body, and those of clear as null, with PATCH, and prints the answer.
func (t *target) change(ctx context.Context, s *session, k *kong.Context, path string, body map[string]any, clear []string) error {
	if err := changes(k.Selected(), body, clear); err != nil {
		return err
	}
	return t.show(ctx, s, asTenant, http.MethodPatch, path, body)
}

// changes adds the settings of clear to the body of a PATCH, as null. A setting inside another, such as filters.labels,
// is removed from it. Without any change it returns an error that lists the command's flags.
func changes(command *kong.Node, body map[string]any, clear []string) error {
	for _, name := range clear {
		outer, inner, nested := strings.Cut(name, ".")
		within, _ := body[outer].(map[string]any)
		switch {
		case nested && within != nil:
			delete(within, inner)
		case body[name] != nil:
			return fmt.Errorf("%s is both set and cleared", name)
		default:
			body[name] = nil
		}
	}
	if len(body) > 0 {
		return nil
	}
	return errors.New("nothing to change: give one of " + strings.Join(settingFlags(command), ", "))
}

// notSettings are flags of update commands that change nothing.
var notSettings = []string{"api", "key", "json", "for-all"}

// settingFlags are the flags of an update command that change something.
func settingFlags(command *kong.Node) []string {
	var flags []string
	for _, f := range command.Flags {
		if !slices.Contains(notSettings, f.Name) && !f.Hidden {
			flags = append(flags, "--"+f.Name)
		}
	}
	return flags
}
