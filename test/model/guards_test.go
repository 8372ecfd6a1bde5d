package model_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const deliveryModel = "delivery.pml"

// guard is a row of the table of guards.
type guard struct{ switches, file, text string }

func guards(t *testing.T) []guard {
	t.Helper()
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var found []guard
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) == 6 && strings.HasPrefix(cells[1], " `NO_") {
			found = append(found, guard{cells[1], strings.Trim(cells[3], " `"), cells[4]})
		}
	}
	require.Greater(t, len(found), 15)
	return found
}

// TestTheModelIsTheOneThatWasChecked compares the model and the searches with those of the last `make model`: the same
// searches of the same model find the same.
func TestTheModelIsTheOneThatWasChecked(t *testing.T) {
	t.Parallel()
	checked, err := os.ReadFile("checked.txt")
	require.NoError(t, err)
	for _, name := range []string{deliveryModel, "spin_test.go"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Contains(t, string(checked), fmt.Sprintf("%x  %s\n", sha256.Sum256(text), name), "run `make model`, which checks the new one and notes it")
	}
}

var switchName = regexp.MustCompile(`NO_[A-Z_]+`)

// TestEveryGuardOfTheModelStandsInTheCode keeps the model and the code together. It
// needs no checker.
func TestEveryGuardOfTheModelStandsInTheCode(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(deliveryModel)
	require.NoError(t, err)
	named := map[string]bool{}
	for _, g := range guards(t) {
		for _, name := range switchName.FindAllString(g.switches, -1) {
			named[name] = true
			require.Contains(t, string(source), name)
		}
		code, err := os.ReadFile(filepath.Join("../..", g.file))
		require.NoError(t, err)
		rest := string(code)
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(g.text, -1) {
			at := strings.Index(rest, m[1])
			require.GreaterOrEqual(t, at, 0, "%s no longer has %q: does the model still say what the code does?", g.file, m[1])
			rest = rest[at:]
		}
	}
	for _, name := range switchName.FindAllString(string(source), -1) {
		require.True(t, named[name], "README.md does not name the guard %s", name)
	}
}
