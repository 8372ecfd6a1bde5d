package arch_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/arch"
)

func TestPrivateWordsDoNotComeBack(t *testing.T) {
	t.Parallel()
	breaches, err := arch.CheckWords(os.DirFS("../.."), arch.Words)
	require.NoError(t, err)
	require.Empty(t, breaches, strings.Join(breaches, "\n"))
}

func TestPrivateWordsAreFound(t *testing.T) {
	t.Parallel()
	words := []arch.Word{{Forms: []string{"letter", "letters"}, Instead: "intake message", Phrases: []string{"dead letter", "dead_letter"}}}
	for text, found := range map[string]string{
		"func takeLetter() {}":                 `f.go:1: "Letter" is our private word: use "intake message"`,
		"a\nSELECT * FROM letters":             `f.go:2: "letters" is our private word: use "intake message"`,
		"MAX_LETTER":                           `f.go:1: "LETTER" is our private word: use "intake message"`,
		"a dead letter, dead_letters":          "",
		"lettered":                             "",
		"a dead letter is the end of a letter": `f.go:1: "letter" is our private word: use "intake message"`,
	} {
		breaches, err := arch.CheckWords(fstest.MapFS{"f.go": {Data: []byte(text)}, "f.txt": {Data: []byte("letter")}, "testdata/f.go": {Data: []byte("letter")}}, words)
		require.NoError(t, err)
		require.Equal(t, found, strings.Join(breaches, "\n"), text)
	}
}
