package email

// Received is the "data" of an email.received event. Every string is UTF-8
// without NUL. Lists are never null.
type Received struct {
	// MessageID is the id of the agent's copy, "msg_…".
	MessageID string `json:"message_id"`
	// ConversationID is the conversation, "conv_…". Mails of a tenant that answer each
	// other have the same.
	ConversationID string `json:"conversation_id"`
	// AgentID is the address of the agent that received the mail.
	AgentID string `json:"agent_id"`
	// Recipient is the address that the mail was sent to, in lower case except for the tag. It is AgentID, unless the
	// agent took the mail for an address with a tag, as *@example.com, or as postmaster.
	Recipient string `json:"recipient"`
	// Tag is what follows the first "+" of the recipient's local part, as the client wrote it; "" for none, and where
	// the agent's own address has the "+".
	Tag string `json:"tag"`
	// Envelope is the SMTP envelope. It need not agree with the header.
	Envelope Envelope `json:"envelope"`
	// From are the addresses of the From field. An absent field is an empty list, also
	// in To, Cc and ReplyTo.
	From []Address `json:"from"`
	// To are the addresses of the To field.
	To []Address `json:"to"`
	// Cc are the addresses of the Cc field.
	Cc []Address `json:"cc"`
	// ReplyTo are the addresses of the Reply-To field. If it is absent, the list is
	// empty and does not have the From addresses.
	ReplyTo []Address `json:"reply_to"`
	// Sender is the address of the Sender field, which names who sent the mail for the authors; null for none.
	Sender *Address `json:"sender"`
	// Resent is what whoever redirected the mail added; null if nobody did.
	Resent *Resent `json:"resent"`
	// Subject is decoded.
	Subject string `json:"subject"`
	// MessageIDHeader is the Message-ID without its angle brackets, "" for none.
	MessageIDHeader string `json:"message_id_header"`
	// InReplyTo is the first Message-ID of In-Reply-To, without its angle
	// brackets, "" for none.
	InReplyTo string `json:"in_reply_to"`
	// References are the Message-IDs of the mails before this one, the oldest
	// first, without their angle brackets.
	References []string `json:"references"`
	// Date is the Date field in RFC 3339; "" if it is absent or cannot be read.
	Date string `json:"date"`
	// Text is the plain text body; "" for none. If a mail has HTML alone, it is made from the HTML.
	Text string `json:"text"`
	// TextFromHTML is true if Text, or a part of it, was made from HTML.
	TextFromHTML bool `json:"text_from_html"`
	// HTML is the HTML body; "" for none.
	HTML string `json:"html"`
	// ReplyText is Text without the quoted mail; null if no quotation was found, or if nothing stands above it.
	ReplyText *string `json:"reply_text"`
	// ReplyHTML is HTML without the quoted mail; null if HTML marks no quotation, or if nothing stands above it.
	ReplyHTML *string `json:"reply_html"`
	// AutoSubmitted is "no", "auto-replied", "auto-generated" or "bulk". A program must not answer a mail on its own
	// unless it is "no".
	AutoSubmitted string `json:"auto_submitted"`
	// List is what the mailing list or newsletter says of itself; null for none.
	List *List `json:"list"`
	// Bounce is the report that a mail could not be delivered, or is delayed; null if the mail is none.
	Bounce *Bounce `json:"bounce"`
	// Complaint is the report that a recipient complained about a mail; null if the mail is none.
	Complaint *Complaint `json:"complaint"`
	// Calendar is the first event of an invitation, or of an answer to one; null for none.
	Calendar *Calendar `json:"calendar"`
	// Headers are all fields in order, [name, value], unfolded, not decoded.
	Headers [][2]string `json:"headers"`
	// Attachments describe the parts that are not a body, in order.
	Attachments []Attachment `json:"attachments"`
	// Milters are what the filters said that the operator has the server ask, in order; empty for none.
	Milters []Milter `json:"milters"`
	// Quarantined is true if a milter wants the mail held back.
	Quarantined bool `json:"quarantined"`
	// Authentication has the results of authenticating the sender.
	Authentication Authentication `json:"authentication"`
	// Size of the raw mail in bytes.
	Size int64 `json:"size"`
	// ReceivedAt is when its last byte arrived, RFC 3339, UTC, by the database's clock.
	ReceivedAt string `json:"received_at"`
	// RawURL is the address of the raw mail; a request needs an API key.
	RawURL string `json:"raw_url"`
	// ParseError says what could not be parsed; absent if all could.
	ParseError string `json:"parse_error,omitempty"`
	// Truncated names the fields that were cut to fit the size of an event.
	Truncated []string `json:"truncated"`
	// TruncatedURLs has the address of each of these fields in full, by its name; a request needs an API key. The
	// fields envelope, authentication and milters have none: the mail does not hold them.
	TruncatedURLs map[string]string `json:"truncated_urls"`
}

// Envelope is the SMTP envelope as far as it concerns the agent.
type Envelope struct {
	// From is the return path, "" for the null sender.
	From string `json:"from"`
	// To are the recipient addresses of this agent alone, as the client wrote
	// them.
	To []string `json:"to"`
}

// Attachment describes a part of a mail, decoded.
type Attachment struct {
	// Filename is the sender's text, "" for none. Do not use it as a path.
	Filename string `json:"filename"`
	// ContentType is the media type that the sender claims, without parameters.
	ContentType string `json:"content_type"`
	// Size in bytes of the decoded content.
	Size int64 `json:"size"`
	// SHA256 of the decoded content, in hex.
	SHA256 string `json:"sha256"`
	// ContentID is the id by which the HTML refers to the part as cid:…, without angle
	// brackets; "" for none.
	ContentID string `json:"content_id"`
	// Inline reports whether the part is shown within the text.
	Inline bool `json:"inline"`
	// URL is the address of the decoded content; a request needs an API key.
	URL string `json:"url"`
	// Parts are the texts and files of an attached mail (message/rfc822), at most 100; absent for other attachments.
	Parts []Part `json:"parts,omitempty"`
}
