package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are what people read, by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "docs/explanation/decisions/*.md"} {
		files, err := filepath.Glob("../../" + pattern)
		require.NoError(t, err)
		for _, f := range files {
			found[strings.TrimPrefix(filepath.ToSlash(f), "../../")] = read(t, f)
		}
	}
	require.Greater(t, len(found), 15)
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// sources are the Go files of the product and its tests, the other modules too.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
			all.WriteString(read(t, path))
		}
		return err
	}))
	return all.String()
}

// matches gives what the pattern's group finds, each once, and the page that
// says it.
func matches(t *testing.T, pattern string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for path, text := range pages(t) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[m[1]] = path
		}
	}
	require.NotEmpty(t, found, pattern)
	return found
}

func TestPagesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	src := sources(t)
	for name, page := range matches(t, `\b(FANMAIL_[A-Z_]+[A-Z])\b`) {
		// A setting that may hold a password can come from the file that NAME_FILE names.
		require.Contains(t, src, strings.TrimSuffix(name, "_FILE"), "%s: no code reads that variable", page)
	}
	tests := map[string]bool{}
	for _, m := range testedFunc.FindAllStringSubmatch(src, -1) {
		tests[m[1]] = true
	}
	for name, page := range matches(t, `\b((?:Test|Fuzz)[A-Z][A-Za-z0-9]{5,})\b`) {
		require.True(t, tests[name], "%s: no test %s", page, name)
	}
	makefile := read(t, "../../Makefile")
	for target, page := range matches(t, "`make ([a-z-]+)") {
		require.Regexp(t, `(?m)^`+target+`:`, makefile, "%s: no such target", page)
	}
	exported := read(t, "../../docs/reference/metrics.md")
	for metric, page := range matches(t, "`(fanmail_[a-z0-9_]+_(?:total|seconds|info|in_flight|partitions))\\b") {
		require.Contains(t, exported, "| `"+metric+"` |", "%s: no such metric", page)
	}
}

func TestLinksLead(t *testing.T) {
	t.Parallel()
	all := pages(t)
	links := 0
	for path, text := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s:]+)\)`).FindAllStringSubmatch(text, -1) {
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			_, err := os.Stat("../../" + target)
			require.NoError(t, err, "%s leads to %s", path, m[1])
			if anchor != "" {
				require.Contains(t, anchors(all[target]), anchor, "%s leads to %s", path, m[1])
			}
		}
	}
	require.Greater(t, links, 30)
}

// anchors are those that GitHub makes of a page's headings.
func anchors(page string) []string {
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		found = append(found, strings.ReplaceAll(kept, " ", "-"))
	}
	return found
}

// TestRunbooksQuoteWhatThereIs: what docs/reference/alerts.md has in quotes is a panel of
// the dashboard or what a process says.
func TestRunbooksQuoteWhatThereIs(t *testing.T) {
	t.Parallel()
	dashboard, src := read(t, "../../deploy/observability/grafana/fanmail.json"), sources(t)
	quoted := regexp.MustCompile(`"([^"\n]+(?:\n[^"\n]+)?)"`).FindAllStringSubmatch(read(t, "../../docs/reference/alerts.md"), -1)
	require.Greater(t, len(quoted), 5)
	elsewhere := []string{"no partition of relation"} // Postgres's own words
	for _, q := range quoted {
		words := strings.ReplaceAll(q[1], "\n", " ")
		if slices.Contains(elsewhere, words) {
			continue
		}
		require.True(t, strings.Contains(dashboard, `"title": "`+words+`"`) || strings.Contains(src, `"`+words), "nothing is called %q", words)
	}
}

// Alerts, units and commands name pages by their address on GitHub: there are the page and its heading.
func TestAddressesOfPagesLead(t *testing.T) {
	t.Parallel()
	all := pages(t)
	found := 0
	for _, folder := range []string{"deploy", "cmd", "internal", "scripts", "receivers", "clients"} {
		require.NoError(t, filepath.WalkDir("../../"+folder, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata"):
				return fs.SkipDir
			case d.IsDir() || !d.Type().IsRegular() || filepath.Ext(path) == ".md":
				return nil
			}
			for _, m := range addresses.FindAllStringSubmatch(strings.ReplaceAll(read(t, path), `\\-`, "-"), -1) {
				found++
				_, err := os.Stat("../../" + m[1])
				require.NoError(t, err, "%s leads to %s", path, m[0])
				if m[2] != "" {
					require.Contains(t, anchors(all[m[1]]), m[2], "%s leads to %s", path, m[0])
				}
			}
			return nil
		}))
	}
	require.Greater(t, found, 20, "each alert has one")
}

var addresses = regexp.MustCompile(`https://github\.com/fanmail-dev/fanmail/(?:blob|tree)/main/([\w./-]+\w)(?:#([\w-]+))?`)
