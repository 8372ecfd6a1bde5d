package milter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/d--j/go-milter"
)

// maxReply is the most bytes of the text of a reply.
const maxReply = 400

// Refusal is the answer of a milter that refuses a mail or a recipient.
type Refusal struct {
	// Milter is its name.
	Milter string
	// Code is 4xx or 5xx, and Enhanced the code of RFC 3463.
	Code     int
	Enhanced [3]int
	// Text has no line end.
	Text string
}

// Error names the milter and its reply.
func (r *Refusal) Error() string {
	return fmt.Sprintf("milter %s answered %d %d.%d.%d %s", r.Milter, r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
}

// Failure is the error of a milter that gave no usable answer. The mail is to be refused for now.
type Failure struct {
	Address Address
	Kind    FailureKind
	Err     error
}

// FailureKind is what went wrong with a milter.
type FailureKind string

// The values of [FailureKind].
const (
	// Unreachable: nothing listens at the address, or it does not let this process connect.
	Unreachable FailureKind = "unreachable"
	// Silent: it gave no answer in time.
	Silent FailureKind = "no answer"
	// Broken: it closed the connection, or its answer is not one of the protocol.
	Broken FailureKind = "broken"
)

// failure makes an error of a milter a [Failure]; nil stays nil. limit is how long the milter had.
func failure(a Address, limit time.Duration, err error) *Failure {
	if err == nil {
		return nil
	}
	var op *net.OpError
	f := &Failure{Address: a, Kind: Broken, Err: err}
	switch {
	case errors.As(err, &op) && op.Op == "dial" && !op.Timeout():
		f.Kind = Unreachable
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		f.Kind, f.Err = Silent, fmt.Errorf("it gave no answer within %s", limit)
	}
	return f
}

// Error names the milter, its address and the cause.
func (f *Failure) Error() string {
	return fmt.Sprintf("ask milter %s at %s: %s", f.Address.Name, f.Address, clean(f.Err.Error(), maxReply))
}

// Fault is the failure's entry in the table of package health.
func (f *Failure) Fault() (party, code string) { return "milter", string(f.Kind) }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// refusal reads the answer of a milter that refuses; nil if it does not.
func refusal(name string, a *milter.Action) *Refusal {
	r := &Refusal{Milter: name}
	switch a.Type {
	case milter.ActionReject:
		r.Code, r.Enhanced, r.Text = 550, [3]int{5, 7, 1}, "Refused by the filter "+name
	case milter.ActionTempFail:
		r.Code, r.Enhanced, r.Text = 451, [3]int{4, 7, 1}, "The filter "+name+" wants you to try again later"
	case milter.ActionRejectWithCode:
		r.read(int(a.SMTPCode), a.SMTPReply)
	default:
		return nil
	}
	return r
}

// read takes the milter's own reply. Only lines that begin with its code belong to it: others would be replies to later
// commands.
func (r *Refusal) read(code int, reply string) {
	r.Code = code
	if code == 421 { // the connection is not the milter's to end
		r.Code = 451
	}
	r.Enhanced = [3]int{r.Code / 100, 7, 1}
	var text []string
	for line := range strings.Lines(reply) {
		rest, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), strconv.Itoa(code))
		if !ok {
			break
		}
		last := !strings.HasPrefix(rest, "-")
		rest = strings.TrimLeft(rest, "- ")
		first, after, _ := strings.Cut(rest, " ")
		if e, ok := enhanced(first); ok {
			rest = after
			if e[0] == r.Code/100 {
				r.Enhanced = e
			}
		}
		text = append(text, clean(rest, maxReply))
		if last {
			break
		}
	}
	r.Text = strings.Map(func(r rune) rune {
		if r > '~' { // replies are ASCII
			return '?'
		}
		return r
	}, clean(strings.Join(text, " "), maxReply))
	if r.Text == "" {
		r.Text = "Refused by the filter " + r.Milter
	}
}

// enhanced reads a code of RFC 3463.
func enhanced(s string) (e [3]int, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != len(e) {
		return e, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 10)
		if err != nil || n > 999 {
			return e, false
		}
		e[i] = int(n)
	}
	return e, e[0] == 2 || e[0] == 4 || e[0] == 5
}
