package ingest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of the list of problems.
const (
	maxProblems     = 5
	maxProblemBytes = 200 // of one problem
)

// parsed is the readable content of a mail.
type parsed struct {
	header                header
	print                 []byte // the fingerprint
	messageID, inReplyTo  string
	references            []string // the oldest first
	named                 []string // what places it in a conversation, the root last
	root                  string   // what begins the conversation, as far as the header tells
	subject, date         string
	from, to, cc, replyTo []email.Address
	text, html            string
	reply                 *string // the text without its quotation; nil where there is none
	headers               [][2]string
	attachments           []email.Attachment
	cut                   map[string]bool // by field
	problems              []string

	want   int    // the attachment whose content is kept; -1 for none
	wanted []byte // its content
}

func newParsed() *parsed {
	return &parsed{
		want: -1, cut: map[string]bool{}, headers: [][2]string{}, attachments: []email.Attachment{}, references: []string{},
		from: []email.Address{}, to: []email.Address{}, cc: []email.Address{}, replyTo: []email.Address{},
	}
}

// guard catches the panics of parsers.
func (p *parsed) guard(what string, read func()) {
	defer func() {
		if r := recover(); r != nil {
			p.mark(fmt.Sprintf("the parser of the %s broke down: %v", what, r))
		}
	}()
	read()
}

func (p *parsed) mark(problem string) {
	problem = cutAt(text(problem), maxProblemBytes)
	if len(p.problems) < maxProblems && !slices.Contains(p.problems, problem) {
		p.problems = append(p.problems, problem)
	}
}

// problem names everything that could not be read, in one line; "" for nothing.
func (p *parsed) problem() string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.Join(p.problems, "; "))
}

func (p *parsed) limit(name, v string, n int) string {
	if len(v) > n {
		p.cut[name] = true
	}
	return cutAt(v, n)
}
