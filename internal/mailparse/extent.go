package mailparse

// MaxBody is how much of the text and of the HTML is read, in bytes of each before decoding its charset.
const MaxBody = 512 << 10

// Limits of a report about another mail.
const (
	maxReport           = 64 << 10 // bytes that are read
	maxBounceLines      = 1000     // lines of one that is a text
	maxReportRecipients = 100
)

// extent is how much of a mail is read.
type extent struct {
	body      int // bytes of the text and of the HTML each
	field     int // bytes of the subject and of a field of addresses
	addresses int // of each list
	report    int // bytes of a report about another mail
	lines     int // of such a report that is a text
	reported  int // its recipients
}

var usual = extent{body: MaxBody, field: MaxField, addresses: maxAddresses, report: maxReport, lines: maxBounceLines, reported: maxReportRecipients}
