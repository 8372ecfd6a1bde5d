package email

// Resent is what whoever redirects a mail adds to it (RFC 5322, 3.6.6). The other fields are as the author wrote them.
type Resent struct {
	// From redirected the mail, at most 10 addresses.
	From []Address `json:"from"`
	// To are the addresses that it was redirected to, at most 10.
	To []Address `json:"to"`
	// Date is when that was, in RFC 3339; "" if it is absent or cannot be read.
	Date string `json:"date"`
	// MessageIDHeader is the Resent-Message-ID without its angle brackets, "" for none.
	MessageIDHeader string `json:"message_id_header"`
}

// List is what a mailing list or newsletter says of itself (RFC 2919, 2369, 8058).
type List struct {
	// ID is the List-Id without its angle brackets, "" for none.
	ID string `json:"id"`
	// Name is the list's name in List-Id, "" for none.
	Name string `json:"name"`
	// Post is the address to write to, "" for none.
	Post string `json:"post"`
	// Unsubscribe are the URLs of List-Unsubscribe, "mailto:…" and "https://…", at most 10.
	Unsubscribe []string `json:"unsubscribe"`
	// OneClick says that a POST of "List-Unsubscribe=One-Click" to the first https URL unsubscribes.
	OneClick bool `json:"one_click"`
}

// Calendar is the event of an invitation or of an answer to one (RFC 5545, 5546).
type Calendar struct {
	// Method is "REQUEST", "REPLY", "CANCEL" and the like; "" for none.
	Method string `json:"method"`
	// UID identifies the event in all mails about it.
	UID string `json:"uid"`
	// Sequence grows with each change, a number; "" for none.
	Sequence string `json:"sequence"`
	// Status is "CONFIRMED", "TENTATIVE" or "CANCELLED"; "" for none.
	Status string `json:"status"`
	// Summary is the title.
	Summary string `json:"summary"`
	// Location is where it takes place, "" for none.
	Location string `json:"location"`
	// Start is "2026-01-02", "2026-01-02T15:00:00" in the zone of TimeZone, or "2026-01-02T15:00:00Z"; "" for none.
	Start string `json:"start"`
	// End has the same forms.
	End string `json:"end"`
	// TimeZone is the sender's name of the zone, such as "Europe/Berlin"; "" for none.
	TimeZone string `json:"time_zone"`
	// Organizer invites; its address is "" for none.
	Organizer Address `json:"organizer"`
}

// Part is a part of an attached mail.
type Part struct {
	// Filename is as the sender gave it, "" for none.
	Filename string `json:"filename"`
	// ContentType is the media type that the sender claims, without parameters.
	ContentType string `json:"content_type"`
	// Size of the decoded content in bytes.
	Size int64 `json:"size"`
}
