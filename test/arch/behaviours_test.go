package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	namedTest  = regexp.MustCompile("`([a-z][a-z0-9/]*)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testedFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
)

// TestEveryTestThatABehaviourNamesExists reads docs/reference/behaviours.md.
func TestEveryTestThatABehaviourNamesExists(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reference/behaviours.md")
	require.NoError(t, err)
	named := namedTest.FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 50, "the page names its tests as `package.TestName`")
	have := map[string][]string{}
	for _, n := range named {
		dir, name := n[1], n[2]
		if _, read := have[dir]; !read {
			have[dir] = testsOf(t, filepath.Join("../..", strings.TrimPrefix(dir, "fanmail"))) // the root's package
		}
		require.Contains(t, have[dir], name, "docs/reference/behaviours.md names a test of %s that is not there", dir)
	}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && !strings.HasPrefix(cells[1], "-") && strings.TrimSpace(cells[1]) != "behaviour" {
			require.Regexp(t, namedTest, cells[2], "a behaviour without a test:\n%s", line)
		}
	}
}

// TestEveryTestThatTheSecurityPageNamesExists reads docs/explanation/security.md.
func TestEveryTestThatTheSecurityPageNamesExists(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/explanation/security.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[1]) == "attack" {
			continue
		}
		named := namedTest.FindAllStringSubmatch(cells[3], -1)
		require.NotEmpty(t, named, "an attack without a test:\n%s", line)
		for _, n := range named {
			require.Contains(t, testsOf(t, filepath.Join("../..", n[1])), n[2], "docs/explanation/security.md names a test of %s that is not there", n[1])
		}
	}
}

func testsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	names := []string{}
	for _, f := range files {
		src, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range testedFunc.FindAllStringSubmatch(string(src), -1) {
			names = append(names, m[1])
		}
	}
	return names
}
