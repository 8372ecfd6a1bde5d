package mailparse

// MaxBody is how much of the text and of the HTML is read, in bytes of each before decoding its charset.
const MaxBody = 512 << 10

// extent is how much of a mail is read.
type extent struct {
	body      int // bytes of the text and of the HTML each
	field     int // bytes of the subject and of a field of addresses
	addresses int // of each list
}

var usual = extent{body: MaxBody, field: MaxField, addresses: maxAddresses}
