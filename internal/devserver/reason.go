package devserver

import (
	"bytes"
	"regexp"
	"strings"
)

// complaint finds a warning or an error in a line of Postgres's log, or of the output of its programs.
var complaint = regexp.MustCompile(`\b(?:WARNING|ERROR|FATAL|PANIC|error|fatal):\s.*`)

// reason extracts from Postgres's log, or from the output of its programs, why it ended: the last warnings and errors, or
// the last line if there are none.
func reason(log []byte) string {
	var why []string
	for line := range strings.Lines(string(log)) {
		if text := complaint.FindString(line); text != "" {
			why = append(why, strings.TrimSpace(text))
		}
	}
	if len(why) == 0 {
		return lastLine(log)
	}
	return strings.Join(why[max(0, len(why)-3):], "; ")
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
