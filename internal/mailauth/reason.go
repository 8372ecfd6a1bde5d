package mailauth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of the words in a result, in bytes. A domain has at most 253.
const (
	maxDomainBytes   = 255
	maxIdentityBytes = 320
	maxReasonBytes   = 200
)

// errSlow is the end of a check's time.
var errSlow = errors.New("the checks took too long")

// broke catches the panic of a library on a mail that it did not expect.
func broke(result *email.Result, reason *string) {
	if p := recover(); p != nil { //nolint:revive // it is deferred itself
		*result, *reason = email.PermError, clean(fmt.Sprintf("the verifier broke down: %v", p), maxReasonBytes)
	}
}

// clean makes a word of a stranger's fit for an event and for a person's eyes.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") // half a rune at the end
	}
	return s
}
