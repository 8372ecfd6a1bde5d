package browser_test

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:embed testdata/axe.min.js
var axe string

// axeSum is the hash of testdata/axe.min.js as scripts/axe.sh wrote it.
const axeSum = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

func TestAxeIsWhatTheScriptFetched(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(axe))
	require.Equal(t, axeSum, hex.EncodeToString(sum[:]), "run scripts/axe.sh, and set axeSum if its version changed")
	script, err := os.ReadFile("../../scripts/axe.sh")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(script), "VERSION=")
	version, _, _ := strings.Cut(rest, "\n")
	require.Contains(t, axe, "axe v"+version)
}

// violation is a rule of axe-core that the page breaks.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// accessible fails the test for each thing that axe-core calls serious or critical in the page, by the rules of WCAG 2.2
// AA and good practice. Frames are left out: the only ones hold a mail's own HTML.
func (b *tab) accessible() {
	b.t.Helper()
	if !eval[bool](b, `typeof axe === "object"`) { // once a page
		eval[bool](b, axe+"; true")
	}
	found := eval[struct{ Violations []violation }](b, `axe.run(document, {resultTypes: ["violations"], iframes: false}).then(r => ({violations: r.violations}))`)
	for _, v := range found.Violations {
		if v.Impact != "serious" && v.Impact != "critical" {
			continue
		}
		for _, n := range v.Nodes {
			b.t.Errorf("%s (%s): axe-core: %s: %s: %.300s\n%s", b.path(), b.look, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}
