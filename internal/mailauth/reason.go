package mailauth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of the texts in a result, in bytes. A domain has at most 253.
const (
	maxDomainBytes   = 255
	maxIdentityBytes = 320
	maxReasonBytes   = 200
)

// errTimeout is the cause of a check's context at the checker's timeout.
var errTimeout = errors.New("the checks took too long")

// recoverPanic turns a library's panic on an unexpected mail into a "permerror". Defer it.
func recoverPanic(result *email.Result, reason *string) {
	if p := recover(); p != nil { //nolint:revive // callers defer this function
		*result, *reason = email.PermError, clean(fmt.Sprintf("the verifier panicked: %v", p), maxReasonBytes)
	}
}

// clean removes control characters and invalid UTF-8 from a text of a mail or of DNS, and
// cuts it to n bytes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") // the cut may have split a rune
	}
	return s
}
