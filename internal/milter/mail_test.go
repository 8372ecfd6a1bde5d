package milter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// opened reads a mail and checks that nothing of it is lost.
func opened(t testing.TB, raw string) *Mail {
	t.Helper()
	m, err := Open(strings.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	require.Equal(t, raw, intact(t, m))
	return m
}

func intact(t testing.TB, m *Mail) string {
	t.Helper()
	out, err := m.Bytes()
	require.NoError(t, err)
	require.EqualValues(t, len(out), m.Size())
	return string(out)
}

func made(t testing.TB, name, value string) *field {
	t.Helper()
	f, err := newField(name, value, false)
	require.NoError(t, err)
	return f
}

// oddMails are mails in forms that must come out as they went in.
var oddMails = []string{
	"", "\r\n", "\n", "body without header", "A: b", "A: b\r\n", "A: b\r\n\r\n", "A: b\nC: d\n\nbody\n",
	"A: b\r\n c\r\n\td\r\nE: f\r\n\r\nbody", "From me Thu\r\nA: b\r\n\r\nbody", "A: b\r\nno field\r\nC: d\r\n\r\nbody",
	" begins with a fold\r\nA: b\r\n\r\n", "A: b\r\r\n\r\nbody", "A: b\r\n \r\nC: d\r\n\r\nbody", "A : b\r\n\r\n", ": x\r\n\r\n", "A\r\n\r\n",
}

func TestAMailComesOutAsItWentIn(t *testing.T) {
	t.Parallel()
	for _, raw := range oddMails {
		opened(t, raw)
	}
}

func FuzzAMailComesOutAsItWentIn(f *testing.F) {
	for _, raw := range oddMails {
		f.Add(raw, "X-Spam", "yes")
	}
	f.Fuzz(func(t *testing.T, raw, name, value string) {
		m, err := Open(strings.NewReader(raw), int64(len(raw)))
		if err != nil {
			require.ErrorIs(t, err, ErrHeader)
			return
		}
		require.Equal(t, raw, intact(t, m))
		added, err := newField(name, value, false)
		if err != nil {
			return
		}
		before := len(m.fields)
		m.insert(0, added)
		again := intact(t, m)
		m, err = Open(strings.NewReader(again), int64(len(again)))
		if err != nil {
			return
		}
		require.Len(t, m.fields, before+1, "%q", again)
	})
}

func TestFieldsAreAddedChangedAndRemoved(t *testing.T) {
	t.Parallel()
	const raw = "From x Thu\r\nA: 1\r\nB: 2\r\n folded\r\na: 3\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name string
		do   func(*Mail)
		want string
	}{
		{"first", func(m *Mail) { m.insert(0, made(t, "N", "v")) }, "From x Thu\r\nN: v\r\nA: 1\r\nB: 2\r\n folded\r\na: 3\r\n\r\nbody\r\n"},
		{"behind the first", func(m *Mail) { m.insert(1, made(t, "N", "v")) }, "From x Thu\r\nA: 1\r\nN: v\r\nB: 2\r\n folded\r\na: 3\r\n\r\nbody\r\n"},
		{"last", func(m *Mail) { m.insert(100, made(t, "N", "v\n w")) }, "From x Thu\r\nA: 1\r\nB: 2\r\n folded\r\na: 3\r\nN: v\r\n w\r\n\r\nbody\r\n"},
		{"changed", func(m *Mail) { m.change(2, made(t, "A", "new"), false) }, "From x Thu\r\nA: 1\r\nB: 2\r\n folded\r\nA: new\r\n\r\nbody\r\n"},
		{"changed, and is not there", func(m *Mail) { m.change(3, made(t, "A", "new"), false) }, "From x Thu\r\nA: 1\r\nB: 2\r\n folded\r\na: 3\r\nA: new\r\n\r\nbody\r\n"},
		{"removed", func(m *Mail) { m.change(1, made(t, "b", ""), true) }, "From x Thu\r\nA: 1\r\na: 3\r\n\r\nbody\r\n"},
		{"removed, and is not there", func(m *Mail) { m.change(2, made(t, "b", ""), true) }, raw},
		{"renamed", func(m *Mail) { require.True(t, m.distrust("B")) }, "From x Thu\r\nA: 1\r\nB-Original: 2\r\n folded\r\na: 3\r\n\r\nbody\r\n"},
	} {
		m := opened(t, raw)
		c.do(m)
		require.Equal(t, c.want, intact(t, m), c.name)
	}
	m := opened(t, "A: 1")
	m.insert(1, made(t, "N", "v"))
	require.Equal(t, "A: 1\r\nN: v\r\n", intact(t, m), "a header without a last line end")
}

func TestAFieldOfAMilterIsOneField(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "A B", "A:", "A\r\nB", "Ä", "A\x00"} {
		_, err := newField(name, "v", false)
		require.Error(t, err, "%q", name)
	}
	for _, value := range []string{
		"v\r\nBcc: x", "v\nBcc: x", "v\rBcc: x", "v\r\n\r\nbody", "v\n\n body", "v\n", "v\r\n", "v\n \n w", "v\r\n \r\n x", "v\x00w", "\nB: c", strings.Repeat("v", maxValue+1),
	} {
		_, err := newField("A", value, false)
		require.Error(t, err, "%.20q", value)
	}
	for value, want := range map[string]string{"": "A: \r\n", "v": "A: v\r\n", "v\n\tw": "A: v\r\n\tw\r\n", "v\r\n w": "A: v\r\n w\r\n"} {
		require.Equal(t, want, string(made(t, "A", value).raw))
	}
}

func TestAHeaderOverTheLimitsIsRefused(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"bytes":        "A: " + strings.Repeat("x", MaxHeaderBytes) + "\r\n\r\n",
		"fields":       strings.Repeat("a:\r\n", MaxHeaderFields+1) + "\r\n",
		"no blank":     strings.Repeat("A: "+strings.Repeat("x", 996)+"\r\n", 300),
		"cut in folds": "A: x\r\n" + strings.Repeat(" "+strings.Repeat("y", 1020)+"\r\n", 300) + "\r\nbody",
	} {
		_, err := Open(strings.NewReader(raw), int64(len(raw)))
		require.ErrorIs(t, err, ErrHeader, name)
	}
	opened(t, strings.Repeat("a:\r\n", MaxHeaderFields)+"\r\n"+strings.Repeat("body\r\n", MaxHeaderBytes))
}

func TestValuesGoToMiltersWithLinesThatEndInLF(t *testing.T) {
	t.Parallel()
	m := opened(t, "A: b\r\n c\r\nD:e\nF:\r\n\r\n")
	var got []string
	for _, f := range m.fields {
		got = append(got, fmt.Sprintf("%s|%s", f.name, f.value()))
	}
	require.Equal(t, []string{"A| b\n c", "D|e", "F|"}, got)
}
