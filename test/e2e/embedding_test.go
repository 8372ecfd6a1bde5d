package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheProgramOfTheDocsEmbedsFanmail compiles the program in docs/how-to/embed.md, in a module that is not ours, and
// runs the page's test.
func TestTheProgramOfTheDocsEmbedsFanmail(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/embed.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 2)
	dir := t.TempDir()
	buildReceiver(t, dir, blocks[0][1])

	tests := filepath.Join(dir, "receiver", "orders")
	require.NoError(t, os.Mkdir(tests, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(tests, "orders_test.go"), blocks[1][1], 0o600))
	run := exec.CommandContext(t.Context(), "go", "test", "-mod=mod", ".")
	run.Dir = tests
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
