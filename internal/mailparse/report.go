package mailparse

import (
	"bytes"
	"strings"
)

// Report is what a mail server reports about a mail that was sent before: a delivery status (RFC 3464) or a complaint
// (ARF, RFC 5965).
type Report struct {
	Complaint bool
	// FeedbackType of a complaint, such as "abuse"; "" for none.
	FeedbackType string
	// ReportingMTA is who reports, "" for unknown.
	ReportingMTA string
	// Recipients are those that the report is about, at most 100.
	Recipients []ReportRecipient
	More       bool // there may be more recipients than were read
	// OriginalMessageID is the Message-ID of the mail that the report is about, without angle brackets; "" for unknown.
	OriginalMessageID string
}

// ReportRecipient is what a report says about one recipient.
type ReportRecipient struct {
	Recipient  string // the address that the mail was sent to
	Action     string // "failed", "delayed", "delivered", "relayed", "expanded"; "" in a complaint
	Status     string // such as "5.1.1"; "" for none
	Diagnostic string // the words of the server that refused it, "" for none
	RemoteMTA  string // that server, "" for unknown
}

// readReport reads a report among the parts of a mail, nil for none.
func (r *reader) readReport(root *part) *Report {
	if root.kind.value != "multipart/report" {
		for _, p := range root.children {
			if p.multipart() {
				if found := r.readReport(p); found != nil {
					return found // a gateway has put something around it
				}
			}
		}
		return nil
	}
	var out *Report
	original := ""
	for _, p := range root.children {
		switch p.kind.value {
		case "message/delivery-status", "message/global-delivery-status":
			out = r.deliveryStatus(p)
		case "message/feedback-report":
			out = r.feedback(p)
		case "message/rfc822", "message/global", "message/rfc822-headers", "text/rfc822-headers", "message/global-headers":
			original = r.originalID(p)
		}
	}
	if out != nil && original != "" {
		out.OriginalMessageID = original
	}
	return out
}

// reportText is a part's content, decoded and cut. more means that there is more.
func (r *reader) reportText(p *part, limit int) (text []byte, more bool) {
	d, _ := transferDecoder(p.encoding)
	if p.message {
		d = identity{}
	}
	var raw []byte
	decodeTransfer(r.b, d, p.content, func(piece []byte) bool {
		raw = append(raw, piece...)
		return len(raw) <= limit
	})
	return raw[:min(len(raw), limit)], len(raw) > limit
}

func (r *reader) originalID(p *part) string {
	raw, _ := r.reportText(p, maxReport)
	return firstBracketed(split(raw, maxReport).Header.Get("Message-ID"))
}

func firstBracketed(v string) string {
	if list := bracketed(v, 1); len(list) > 0 {
		return list[0]
	}
	return Text(strings.TrimSpace(Cut(v, MaxField)))
}

// fieldBlocks are the blocks of fields of a report: the first is about the mail, the others about a recipient each.
// more means that there are more than were read.
func (r *reader) fieldBlocks(p *part) (out []Header, more bool) {
	rest, more := r.reportText(p, r.much.report)
	rest = bytes.TrimLeft(rest, "\r\n")
	for len(rest) > 0 {
		if len(out) > r.much.reported {
			return out, true
		}
		s := split(rest, r.much.report)
		if len(s.Header) > 0 {
			out = append(out, s.Header)
		}
		if len(s.Body) == 0 {
			break
		}
		rest = s.Body
	}
	return out, more
}

func (r *reader) deliveryStatus(p *part) *Report {
	blocks, more := r.fieldBlocks(p)
	out := &Report{Recipients: []ReportRecipient{}, More: more}
	for i, h := range blocks {
		if i == 0 {
			out.ReportingMTA = typed(h.Get("Reporting-MTA"))
			out.OriginalMessageID = firstBracketed(h.Get("X-Original-Message-ID"))
		}
		recipient := ReportRecipient{
			Recipient: typed(h.Get("Original-Recipient")), Action: strings.ToLower(comment(h.Get("Action"))), Status: comment(h.Get("Status")),
			Diagnostic: typed(h.Get("Diagnostic-Code")), RemoteMTA: typed(h.Get("Remote-MTA")),
		}
		if recipient.Recipient == "" {
			recipient.Recipient = typed(h.Get("Final-Recipient"))
		}
		recipient.Recipient = addrSpec(recipient.Recipient)
		if recipient.Recipient != "" || recipient.Action != "" {
			out.Recipients = append(out.Recipients, recipient)
		}
	}
	return out
}

func (r *reader) feedback(p *part) *Report {
	out := &Report{Complaint: true, Recipients: []ReportRecipient{}}
	if blocks, _ := r.fieldBlocks(p); len(blocks) > 0 {
		h := blocks[0]
		out.FeedbackType = strings.ToLower(comment(h.Get("Feedback-Type")))
		out.ReportingMTA = typed(h.Get("Reporting-MTA"))
		for _, to := range h.All("Original-Rcpt-To") {
			if list, _, _ := Addresses([]string{to}, 1); len(list) > 0 && len(out.Recipients) < r.much.reported {
				out.Recipients = append(out.Recipients, ReportRecipient{Recipient: list[0].Address})
			}
		}
	}
	return out
}

// typed is the value of a field such as "rfc822; a@x.example", without its type.
func typed(v string) string {
	v = Cut(v, maxReplyLine)
	if kind, rest, ok := strings.Cut(v, ";"); ok && !strings.ContainsAny(kind, "@ <") {
		v = rest
	}
	return DecodeWords(strings.TrimSpace(v))
}

// comment is a value without the comment behind it.
func comment(v string) string {
	v, _, _ = strings.Cut(Cut(v, maxReplyLine), "(")
	if words := strings.Fields(Text(v)); len(words) > 0 {
		return words[0]
	}
	return ""
}
