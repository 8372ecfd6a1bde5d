package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Contracts are files of contracts: the name in the folder of a release, and the content.
type Contracts map[string]string

// Names of the files, and folders of them.
const (
	openAPI   = "openapi.json"
	schemas   = "schemas/"
	envelopes = "envelopes/"
	vectors   = "vectors.json"
)

// Current returns the contracts of a source tree. Texts for people are left out.
func Current(tree fs.FS) (Contracts, error) {
	c := Contracts{}
	for name, source := range map[string]string{
		vectors: "subscribers/signature/testdata/vectors.json", "exported.txt": "test/arch/testdata/exported.txt",
		"commands.txt": "cmd/fanmail/testdata/commands.txt",
	} {
		b, err := fs.ReadFile(tree, source)
		if err != nil {
			return nil, err
		}
		c[name] = string(b)
	}
	for folder, pattern := range map[string]string{envelopes: "events/testdata/envelopes/*.json", schemas: "events/schema/*.json"} {
		files, err := fs.Glob(tree, pattern)
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no file is like %s: %w", pattern, err)
		}
		for _, f := range files {
			b, err := fs.ReadFile(tree, f)
			if err != nil {
				return nil, err
			}
			c[folder+path.Base(f)] = string(b)
		}
	}
	b, err := fs.ReadFile(tree, "internal/api/openapi.json")
	if err != nil {
		return nil, err
	}
	c[openAPI] = string(b)
	for name := range c {
		if name != openAPI && !strings.HasPrefix(name, schemas) {
			continue
		}
		if c[name], err = terse(c[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, lists(tree, c)
}

// terse removes texts for people, and blanks at the beginning of lines.
func terse(document string) (string, error) {
	var v any
	dec := json.NewDecoder(strings.NewReader(document))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return "", err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(withoutTexts(v, false)); err != nil {
		return "", err
	}
	var lines bytes.Buffer
	if err := json.Indent(&lines, out.Bytes(), "", ""); err != nil {
		return "", err
	}
	return lines.String(), nil
}

// withoutTexts drops descriptions and examples. "names" says that the keys are names, such as those of fields.
func withoutTexts(v any, names bool) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if !names && slices.Contains([]string{"description", "summary", "title", "example", "examples", "$comment"}, key) {
				delete(v, key)
			} else {
				v[key] = withoutTexts(value, slices.Contains([]string{"properties", "schemas", "$defs"}, key))
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutTexts(v[i], false)
		}
	}
	return v
}

// Released reads the contracts of the last release from a folder that has one folder, named by its version.
func Released(folder string) (version string, c Contracts, err error) {
	found, err := filepath.Glob(filepath.Join(folder, "v*"))
	if err != nil {
		return "", nil, err
	}
	if len(found) != 1 {
		return "", nil, fmt.Errorf("%s has the contracts of %d releases instead of the last one's: run `make release-contract`", folder, len(found))
	}
	c = Contracts{}
	tree := os.DirFS(found[0])
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(tree, name)
		c[name] = string(b)
		return err
	})
	return strings.TrimPrefix(filepath.Base(found[0]), "v"), c, err
}

// Write makes these the contracts of the last release; the one before is in git.
func (c Contracts) Write(folder, version string) error {
	err := os.RemoveAll(folder)
	for name, content := range c {
		file := filepath.Join(folder, "v"+version, filepath.FromSlash(name))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(content), 0o600))
	}
	return err
}
