package mailparse

import (
	"regexp"
	"slices"
	"strings"
)

// The reports of mail servers that write no delivery status (RFC 3464): qmail, Exim and others with the field
// X-Failed-Recipients, and Exchange up to 2003. A mail is taken for one only if a mail server is its author and its text
// has the server's own form: a wrong guess would stop mail to an address that works.

var (
	enhancedStatus = regexp.MustCompile(`(?:^|[\s#(\[:])([45]\.\d{1,3}\.\d{1,3})(?:$|[\s)\]:;,>-])`)
	onlyDelayed    = regexp.MustCompile(`(?i)warning message only|not\s+need\s+to\s+resend|not\s+yet\s+been\s+delivered|will\s+(?:continue\s+to\s+try|be\s+retried|keep\s+trying)`)
	exchangeLine   = regexp.MustCompile(`^(\S+@\S+) on \S.*\d{4}.*\d:\d\d`)
)

// readBounce reads the report of a server that writes no delivery status, nil for other mail.
func (r *reader) readBounce(m *Mail, root *part) *Report {
	if !fromServer(m) {
		return nil
	}
	text := Cut(m.Text, r.much.report)
	if !r.b.spend(8 * len(text)) {
		return nil
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	most, more := r.much.reported, len(text) < len(m.Text) || len(lines) > r.much.lines
	lines = lines[:min(len(lines), r.much.lines)]
	notice, copied := cutCopy(lines)
	if onlyDelayed.MatchString(strings.Join(notice, " ")) {
		return nil
	}
	out := &Report{}
	switch first := firstLine(notice); {
	case strings.HasPrefix(first, "Hi. This is the "):
		if copied == nil {
			return nil
		}
		out.ReportingMTA = qmailHost(first)
		out.Recipients = qmailRecipients(notice, most)
	case m.Header.Has("X-Failed-Recipients"):
		out.Recipients = failedRecipients(m.Header, notice, most)
	case strings.HasPrefix(first, "Your message"):
		out.Recipients = exchangeRecipients(notice, most)
	}
	if len(out.Recipients) == 0 {
		return nil
	}
	out.More = more || len(out.Recipients) == most
	if out.OriginalMessageID = r.returnedID(root); out.OriginalMessageID == "" && copied != nil {
		raw := strings.TrimLeft(strings.Join(copied, "\n"), "\n")
		if h := split([]byte(raw), maxReport).Header; h.Has("Received") || h.Has("Return-Path") || h.Has("From") {
			out.OriginalMessageID = firstBracketed(h.Get("Message-ID"))
		}
	}
	return out
}

// fromServer reports whether a mail server is the only author of the mail.
func fromServer(m *Mail) bool {
	if len(m.From) != 1 || m.Header.Has("List-Id") || m.Header.Has("Resent-From") {
		return false
	}
	local, _, _ := strings.Cut(strings.ToLower(m.From[0].Address), "@")
	return local == "mailer-daemon" || local == "postmaster"
}

func firstLine(lines []string) string {
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			return l
		}
	}
	return ""
}

// cutCopy divides a report at the line before the copy of the original mail, nil if it has none.
func cutCopy(lines []string) (notice, copied []string) {
	for i, l := range lines {
		if lower := strings.ToLower(l); strings.HasPrefix(l, "---") && strings.Contains(lower, "copy of") && strings.Contains(lower, "message") {
			return lines[:i], lines[i+1:]
		}
	}
	return lines, nil
}

// qmailHost is the host that a qmail program names.
func qmailHost(line string) string {
	_, host, ok := strings.Cut(line, " program at ")
	if !ok || strings.ContainsAny(strings.TrimSpace(host), " @") {
		return ""
	}
	return strings.TrimRight(strings.TrimSpace(host), ".:")
}

// qmailRecipients reads the paragraphs of qmail's format, QSBMF: each has a line "<address>:", then why.
func qmailRecipients(lines []string, most int) []ReportRecipient {
	var list []ReportRecipient
	for i, l := range lines {
		in, ok := strings.CutPrefix(strings.TrimSpace(l), "<")
		if !ok || i > 0 && strings.TrimSpace(lines[i-1]) != "" {
			continue
		}
		if in, ok = strings.CutSuffix(in, ">:"); ok {
			list = failedAt(list, most, in, lines[i+1:])
		}
	}
	return list
}

// failedRecipients reads X-Failed-Recipients. The text has each address on a line of its own, then why.
func failedRecipients(h Header, notice []string, most int) []ReportRecipient {
	var list []ReportRecipient
	found, ok, _ := addresses(h.All("X-Failed-Recipients"), most, MaxHeaderBytes)
	if !ok {
		return nil
	}
	after := make(map[string][]string, len(notice)) // a line → those after it
	for i, l := range notice {
		l = strings.ToLower(strings.Trim(strings.TrimSpace(l), "<>:"))
		if _, known := after[l]; !known {
			after[l] = notice[i+1:]
		}
	}
	for _, a := range found {
		list = failedAt(list, most, a.Address, after[strings.ToLower(a.Address)])
	}
	return list
}

// exchangeRecipients reads the lines "address on time" that follow one of Exchange's sentences.
func exchangeRecipients(lines []string, most int) []ReportRecipient {
	from := slices.IndexFunc(lines, func(l string) bool {
		l = strings.TrimSpace(l)
		return l == "did not reach the following recipient(s):" || l == "The following recipient(s) could not be reached:"
	})
	var list []ReportRecipient
	for i := max(from, 0); from >= 0 && i < len(lines); i++ {
		if found := exchangeLine.FindStringSubmatch(Cut(strings.TrimSpace(lines[i]), maxReplyLine)); found != nil {
			list = failedAt(list, most, found[1], lines[i+1:])
		}
	}
	return list
}

// failedAt adds a recipient if the text is an address. The lines that follow say why, up to an empty one.
func failedAt(list []ReportRecipient, most int, address string, why []string) []ReportRecipient {
	found, ok, _ := Addresses([]string{address}, 2)
	if !ok || len(found) != 1 || !strings.Contains(found[0].Address, "@") || len(list) == most {
		return list
	}
	one := ReportRecipient{Recipient: found[0].Address, Action: "failed"}
	var words []string
	for _, l := range why {
		if l = strings.TrimSpace(l); l == "" || exchangeLine.MatchString(Cut(l, maxReplyLine)) || len(words) == 10 {
			break
		}
		words = append(words, l)
	}
	one.Diagnostic = Cut(strings.Join(words, " "), maxReplyLine)
	if status := enhancedStatus.FindStringSubmatch(one.Diagnostic); status != nil {
		one.Status = status[1]
	}
	return append(list, one)
}

// returnedID is the Message-ID of the mail, or of its header, that the report returns as a part.
func (r *reader) returnedID(p *part) string {
	for _, c := range p.children {
		switch c.kind.value {
		case "message/rfc822", "message/global", "message/rfc822-headers", "text/rfc822-headers", "message/global-headers":
			if id := r.originalID(c); id != "" {
				return id
			}
		}
		if c.multipart() {
			if id := r.returnedID(c); id != "" {
				return id
			}
		}
	}
	return ""
}
