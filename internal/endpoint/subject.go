package endpoint

import "strings"

// MaxSubjectBytes bounds the subject of a broker.
const MaxSubjectBytes = 255

// checkSubject checks a subject to which messages are published.
func checkSubject(s string) error {
	switch {
	case len(s) > MaxSubjectBytes:
		return fault("subject", "has %d bytes; the limit is %d", len(s), MaxSubjectBytes)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fault("subject", "holds a character that is not printable ASCII, or a space")
	case strings.ContainsAny(s, "*>"):
		return fault("subject", "holds a wildcard; messages are published to one subject")
	case strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, ".."):
		return fault("subject", "has an empty part; a dot stands between two parts")
	case strings.HasPrefix(s, "$") || strings.HasPrefix(s, "_INBOX."):
		return fault("subject", "begins with $ or _INBOX., which the broker keeps for itself")
	}
	return nil
}
