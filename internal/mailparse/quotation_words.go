package mailparse

import (
	"regexp"
	"strings"
)

// What mail programs write above a quotation, in the languages that they speak. The expressions that begin with "^" are
// for lines without white space around them: matching it would cost a step of each alternative for each space.

// verb is what an attribution says of the writer.
var verb = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\b(?:wrote|writes)\b`,                            // English
	`\b(?:schrieb|geschrieben|schreef|heeft)`,         // German, Dutch
	`\ba\s+écrit`,                                     // French
	`\b(?:escribi[óo]|escreveu|va escriure|escribiu)`, // Spanish, Portuguese, Catalan, Galician
	`\bha\s+scritto`,                                  // Italian
	`\bskr(?:ev|ifver|eiv)\b`,                         // Danish, Norwegian, Swedish
	`(?:napisa[łl]|pisze|napsal|nap[íi]sal|napisao|napisala|napisal)`, // Polish, Czech, Slovak, Croatian, Slovenian
	`\ba\s+scris`,         // Romanian
	`(?:ezt\s+írta|írta)`, // Hungarian
	`(?:kirjoitti|kirjutas|rakst[īi]ja|ra[šs]ė|parašė)`, // Finnish, Estonian, Latvian, Lithuanian
	`(?:пишет|писал|написа|пише|је написао)`,            // Russian, Ukrainian, Bulgarian, Serbian
	`έγραψε`,             // Greek
	`\byazdı`,            // Turkish
	`(?:כתב|מאת)`,        // Hebrew
	`(?:كتب|كتابة|نوشت)`, // Arabic, Persian
	`(?:menulis|đã viết|เขียน|ने लिखा)`, // Indonesian, Vietnamese, Thai, Hindi
	`(?:写道|寫道|写了|來信)`,                   // Chinese
	`(?:のメール|書きました|からのメッセージ)`,           // Japanese
	`(?:작성|님이 쓴 글)`,                     // Korean
}, "|"))

// dated is a time or a date.
var dated = regexp.MustCompile(`\p{Nd}{1,2}[:.h]\p{Nd}{2}|\p{Nd}{4}|\d{1,2}[./-]\s?\d{1,2}|\d\s*[年월월日]`)

// clock is a time of day, and year a year.
var (
	clock = regexp.MustCompile(`\d{1,2}\s?[:.h]\s?\d{2}`)
	year  = regexp.MustCompile(`(?:19|20)\d{2}`)
)

// addressed is an attribution in any language: it ends with an address, or with a time behind one.
var addressed = regexp.MustCompile(`\p{Nd}.*[<(]\s?[^<>()\s]+@[^<>()\s]+[>)][^<>]{0,60}[:：]|[<(]\s?[^<>()\s]+@[^<>()\s]+[>)][^<>]{0,80}\d{1,2}[:.h]\d{2}\s*[:：]$`)

// nameWrote is an attribution without a time: a name alone, and a verb.
var nameWrote = regexp.MustCompile(`^(?:["'*]?\p{Lu}[\p{L}.'-]*["'*]?,?\s+){1,4}(?:<[^<>\s]+>\s+|\([^()\s]+\)\s+)?(?:wrote|writes|schrieb|a écrit|escribió|escreveu|ha scritto|skrev|napisał(?:\(a\))?|schreef|пишет|написал\(?а?\)?)\s*[:：]$`)

// beginning is how an attribution begins that is folded over lines: with a word for "on", a day of the week, or a date.
var beginning = regexp.MustCompile(`(?i)^[\s*"\x{200e}\x{200f}\x{202a}\x{202b}]*(?:` +
	`on|am|le|el|em|a|il|in data|op|den|på|fre|lør|søn|man|tir|ons|tor|mån|tis|lör|sön|w\s+dniu|dnia|dne|dňa|în|la data|pe|στις|pada|vào|в|no dia|` +
	`(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim|lu|ma|me|je|ve|lunes|martes|jue|vie|s[áa]b|seg|ter|qua|qui|sex|dom|` +
	`pon|wt|śr|czw|pt|sob|niedz|po|út|st|čt|pá|ne|ut|str|štv|pi|ke|to|pe|la|su|пн|вт|ср|чт|пт|сб|вс|нд|понедельник|вторник|среда|четверг|пятница|суббота|воскресенье)[\p{L}]*[.,]?|` +
	`بتاريخ|في|در|בתאריך|ב-|\d` +
	`)(?:[\s.,\d(]|$)`)

// sentence is a line that ends a sentence of the author's.
var sentence = regexp.MustCompile(`(?:[^\s.]{3,}[.]|[!?…])\s*$`)

// separated is what stands between dashes in a line of its own above a quoted mail.
var separated = regexp.MustCompile(`(?i)^(?:` +
	`(?:original|forwarded|reply|replied)(?:\s+(?:message|mail|appointment))?|begin forwarded message|reply to message|` +
	`ursprüngliche\s+(?:nachricht|mail)|original-?nachricht|weitergeleitete\s+nachricht|` +
	`message\s+(?:d['’]origine|original|transféré|initial)|mensaje\s+(?:original|reenviado)|mensagem\s+(?:original|encaminhada)|` +
	`messaggio\s+(?:originale|inoltrato)|oorspronkelijk\s+bericht|doorgestuurd bericht|` +
	`ursprungligt\s+meddelande|vidarebefordrat meddelande|oprindelig\s+meddelelse|videresendt meddelelse|opprinnelig\s+melding|videresendt melding|` +
	`(?:oryginalna|przekazana|wiadomość oryginalna)\s*(?:wiadomość)?|treść przekazanej wiadomości|původní\s+(?:zpráva|e-mail)|přeposlaná zpráva|pôvodná správa|` +
	`eredeti üzenet|továbbított üzenet|mesaj original|mesaj redirecționat|alkuperäinen viesti|välitetty viesti|` +
	`исходное\s+сообщение|пересылаемое\s+сообщение|пересланное сообщение|оригінальне повідомлення|пересланий лист|` +
	`orijinal mesaj|iletilmiş mesaj|yönlendirilen ileti|αρχικό μήνυμα|προωθημένο μήνυμα|` +
	`原始邮件|原始郵件|转发的邮件|转发邮件|轉寄郵件|元のメッセージ|転送されたメッセージ|転送メッセージ|원본\s*메시지|전달된 메시지` +
	`)$`)

// forwarded is the line that Apple Mail and others write above a forwarded mail.
var forwarded = regexp.MustCompile(`(?i)^(?:begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-mail)|début du message (?:réexpédié|transféré)|` +
	`inicio del mensaje reenviado|início da mensagem (?:reencaminhada|encaminhada)|inizio messaggio inoltrato|begin doorgestuurd bericht|` +
	`vidarebefordrat brev|start på videresendt besked|videresendt melding|początek przekazywanej wiadomości|začátek přeposílané zprávy|` +
	`начало переадресованного сообщения|iletinin başlangıcı|下面是被转发的邮件|開始轉寄郵件|転送されたメール|전달된 메시지 시작)\s*[:：]\s*$`)

// headerLine is a line of the header that Outlook and others copy above a quotation. The first group is a sender's.
var headerLine = regexp.MustCompile(`(?i)^\*{0,2}(?:(from|von|de|da|van|från|fra|od|от|від|kimden|gönderen|lähettäjä|feladó|de la|από|מאת|من|发件人|寄件者|差出人|보낸\s*사람)|` +
	`sent|date|to|cc|subject|reply-to|gesendet|datum|an|betreff|kopie|envoyé|à|objet|enviado(?:\s+el|\s+em)?|fecha|data|para|asunto|assunto|` +
	`inviato|a|oggetto|verzonden|aan|onderwerp|skickat|till|ämne|dato|sendt|til|emne|wysłano|do|temat|odesláno|komu|předmět|predmet|` +
	`отправлено|дата|кому|тема|надіслано|gönderilen|gönderildi|tarih|kime|konu|lähetetty|päivämäärä|vastaanottaja|aihe|` +
	`küldve|elküldve|címzett|tárgy|trimis|către|subiect|στάλθηκε|ημερομηνία|προς|θέμα|נשלח|אל|נושא|تاريخ|إلى|الموضوع|` +
	`发送时间|日期|收件人|抄送|主题|寄件日期|收件者|主旨|送信日時|日時|宛先|件名|보낸\s*날짜|날짜|받는\s*사람|제목)\s*\*{0,2}\s*[:：]\*{0,2}(?:\s|$)`)
