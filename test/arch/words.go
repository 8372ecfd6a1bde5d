package arch

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Word is a private word that has given way to the field's term.
type Word struct {
	// Forms are the word and its inflections, in lower case.
	Forms []string
	// Instead is the term to use.
	Instead string
	// Phrases are the uses that remain, in lower case, such as "dead letter".
	Phrases []string
}

// WordFiles are the extensions of the files that [CheckWords] reads.
var WordFiles = []string{".go", ".sql", ".md", ".yaml", ".json", ".sh", ".tpl"}

// wordFilesExcepted name the words because they are about them: the rules, and the
// changes from the old names to the new.
var wordFilesExcepted = []string{"test/arch/", "CHANGELOG.md"}

// parts are the words of a text and of its identifiers: "outcomeWriter" has two.
var parts = regexp.MustCompile(`\p{Lu}?\p{Ll}+|\p{Lu}+`)

// CheckWords reads code, SQL, pages and configuration, identifiers word by word, and returns a line for each use of a
// word. It reads no testdata and nothing hidden.
func CheckWords(tree fs.FS, words []Word) ([]string, error) {
	instead := map[string]Word{}
	for _, w := range words {
		for _, f := range w.Forms {
			instead[f] = w
		}
	}
	var breaches []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(name)
		}
		if !slices.Contains(WordFiles, path.Ext(name)) || slices.ContainsFunc(wordFilesExcepted, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return nil
		}
		b, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		number := 0
		for line := range strings.Lines(string(b)) {
			number++
			for _, word := range parts.FindAllString(line, -1) {
				w, private := instead[strings.ToLower(word)]
				if private && !kept(line, strings.ToLower(word), w.Phrases) {
					breaches = append(breaches, fmt.Sprintf("%s:%d: %q is our private word: use %q", name, number, word, w.Instead))
				}
			}
		}
		return nil
	})
	slices.Sort(breaches)
	return slices.Compact(breaches), err
}

// kept reports whether a line uses a word only in phrases that remain.
func kept(line, word string, phrases []string) bool {
	rest := strings.ToLower(line)
	for _, p := range phrases {
		rest = strings.ReplaceAll(rest, p, "")
	}
	return !strings.Contains(rest, word)
}
