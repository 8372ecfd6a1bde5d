package ingest

import (
	"regexp"
	"strings"
)

// Bounds of the search for a quotation.
const (
	maxReplyLines   = 5000
	maxAttribution  = 4    // lines of "On …, … wrote:", which programs fold
	maxReplyLine    = 2000 // bytes of a line that is looked at
	maxHeaderBlock  = 12   // lines
	minHeaderFields = 3
)

// attribution is the unfolded line before a quotation, as mail programs write it. It
// names a writer or a time and ends in a colon; the author's own sentences seldom do.
var attribution = regexp.MustCompile(`(?i)^\s*(?:` + strings.Join([]string{
	`on\b.{6,}\bwrote\s*:`, // English
	`(?:am|em|on)?\b.{6,}\b(?:schrieb|geschrieben)\b.{0,200}:`, // German
	`le\b.{6,}\ba\s+écrit\s*:`,                                 // French
	`el\b.{6,}\bescribi[óo]\s*:`,                               // Spanish
	`(?:em|a|no\s+dia)\b.{6,}\bescreveu\s*:`,                   // Portuguese
	`(?:il|in\s+data|il\s+giorno)\b.{6,}\bha\s+scritto\s*:`,    // Italian
	`op\b.{6,}\b(?:schreef|heeft)\b.{0,200}:`,                  // Dutch
	`(?:den|på|fre|lør|søn|man|tir|ons|tor|mån|tis|lör|sön)\b.{6,}\bskr(?:ev|ev\s+följande|ifver)?\b.{0,200}:`, // Danish, Norwegian, Swedish
	`(?:w\s+dniu|dnia|pon|wt|śr|czw|pt|sob|niedz)\b.{6,}(?:napisał|pisze)\S*\s*:`,                              // Polish
	`(?:dne|po|út|st|čt|pá|so|ne)\b.{6,}napsal\S*\s*:`,                                                         // Czech
	`.{6,}(?:пишет|написал|написала|написав)\S*\s*:`,                                                           // Russian, Ukrainian
	`.{6,}\btarihinde\b.{0,200}\byazdı\s*:`,                                                                    // Turkish
	`.{6,}\bkirjoitti\s*:`,                                                                                     // Finnish
	`.{4,}(?:写道|寫道)\s*[:：]`,                                                                                    // Chinese
	`.{6,}(?:のメール|書きました)\s*[:：]`,                                                                               // Japanese
	`.{6,}(?:작성|님이 쓴 글)\s*[:：]`,                                                                                // Korean
}, "|") + `)\s*$`)

// addressed is an attribution in any language: a time and an address. It counts only
// directly above quoted lines.
var addressed = regexp.MustCompile(`\d.*<[^<>\s]+@[^<>\s]+>\s*[^<>]{0,40}[:：]$`)

// separator is a line of its own above a quoted mail.
var separator = regexp.MustCompile(`(?i)^\s*(?:-{2,}|_{5,})\s*(?:` +
	`(?:original|forwarded)\s+(?:message|mail|appointment)|begin forwarded message|` +
	`ursprüngliche\s+(?:nachricht|mail)|original-?nachricht|weitergeleitete\s+nachricht|` +
	`message\s+(?:d'origine|original|transféré)|mensaje\s+original|mensagem\s+original|messaggio\s+originale|` +
	`oorspronkelijk\s+bericht|ursprungligt\s+meddelande|oprindelig\s+meddelelse|opprinnelig\s+melding|` +
	`oryginalna\s+wiadomość|původní\s+zpráva|исходное\s+сообщение|пересылаемое\s+сообщение|` +
	`原始邮件|原始郵件|元のメッセージ|원본\s*메시지)\s*-{2,}\s*$`)

// rule is the line that Outlook draws above the header of the previous mail.
var rule = regexp.MustCompile(`^\s*_{20,}\s*$`)

// headerLine is a line of the header that Outlook and others copy above a
// quotation. The first group is a sender's.
var headerLine = regexp.MustCompile(`(?i)^\s*\*?(?:(from|von|de|da|van|från|fra|od|от|від|kimden|lähettäjä|发件人|寄件者|差出人|보낸\s*사람)|` +
	`sent|date|to|cc|subject|gesendet|datum|an|betreff|envoyé|date|à|objet|enviado(?:\s+el|\s+em)?|fecha|data|para|asunto|assunto|` +
	`inviato|a|oggetto|verzonden|aan|onderwerp|skickat|till|ämne|sendt|til|emne|wysłano|do|temat|odesláno|komu|předmět|` +
	`отправлено|дата|кому|тема|gönderilen|tarih|kime|konu|lähetetty|vastaanottaja|aihe|` +
	`发送时间|日期|收件人|抄送|主题|寄件日期|收件者|主旨|送信日時|日時|宛先|件名|보낸\s*날짜|받는\s*사람|제목)\s*\*?\s*[:：]\*?(?:\s|$)`)

// stripQuotation returns the text above the quoted mail. ok is false if no quotation
// is recognised, or if the author wrote between the quoted lines: then the whole text
// counts as the author's.
func stripQuotation(body string) (reply string, ok bool) {
	lines := strings.SplitN(strings.ReplaceAll(body, "\r\n", "\n"), "\n", maxReplyLines+1)
	if len(lines) > maxReplyLines {
		return "", false
	}
	for i := range lines {
		if len(lines[i]) <= maxReplyLine && begins(lines, i) {
			return strings.TrimSpace(strings.Join(lines[:i], "\n")), true
		}
	}
	return "", false
}

// begins reports whether a quotation begins at line i and continues to the end.
func begins(lines []string, i int) bool {
	line := lines[i]
	switch {
	case strings.TrimSpace(line) == "":
		return false
	case isQuoted(line):
		return quotedToTheEnd(lines[i:])
	case separator.MatchString(line):
		return true
	case rule.MatchString(line):
		return i+1 < len(lines) && headerBlock(lines[i+1:])
	case headerBlock(lines[i:]):
		return true
	}
	// An attribution on one line, or folded.
	whole := ""
	for n := range min(maxAttribution, len(lines)-i) {
		part := strings.TrimSpace(lines[i+n])
		if part == "" || len(part) > maxReplyLine || isQuoted(part) {
			return false
		}
		whole = strings.TrimSpace(whole + " " + part)
		if !strings.HasSuffix(whole, ":") && !strings.HasSuffix(whole, "：") {
			continue
		}
		ok, some := quotedOrNothing(lines[i+n+1:])
		return ok && (attribution.MatchString(whole) || some && addressed.MatchString(whole))
	}
	return false
}

func isQuoted(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " \t"), ">") }

// quotedToTheEnd reports whether only quoted and empty lines follow, apart from a
// signature.
func quotedToTheEnd(lines []string) bool {
	for _, l := range lines {
		if l == "-- " || l == "--" {
			return true
		}
		if strings.TrimSpace(l) != "" && !isQuoted(l) {
			return false
		}
	}
	return true
}

// quotedOrNothing reports what must follow an attribution: quoted lines to the end.
// Unmarked text could be the author's own.
func quotedOrNothing(lines []string) (ok, some bool) {
	for i, l := range lines {
		if strings.TrimSpace(l) != "" {
			return isQuoted(l) && quotedToTheEnd(lines[i:]), true
		}
	}
	return true, false
}

// headerBlock reports whether the lines begin with the copied header of a mail: its
// sender first, then more fields with little between them.
func headerBlock(lines []string) bool {
	first := headerLine.FindStringSubmatch(lines[0])
	if first == nil || first[1] == "" {
		return false
	}
	fields := 0
	for n, l := range lines {
		if n == maxHeaderBlock || strings.TrimSpace(l) == "" && n > 0 && fields >= minHeaderFields {
			break
		}
		if len(l) <= maxReplyLine && headerLine.MatchString(l) {
			fields++
		}
	}
	return fields >= minHeaderFields
}
