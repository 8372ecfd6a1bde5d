package email

// Received is the "data" of an email.received event. Every string is UTF-8
// without NUL. Lists are never null.
type Received struct {
	// MessageID is the id of the agent's copy, "msg_…".
	MessageID string `json:"message_id"`
	// ConversationID is the thread, "conv_…", the same for all mails of a
	// tenant that answer each other.
	ConversationID string `json:"conversation_id"`
	// AgentID is the address of the agent that received the mail.
	AgentID string `json:"agent_id"`
	// Envelope is what the sending server said, whatever the header says.
	Envelope Envelope `json:"envelope"`
	// From, To, Cc and ReplyTo are as in the header. An absent field is an
	// empty list; an absent Reply-To is never the From.
	From []Address `json:"from"`
	// To are the addresses of the To field.
	To []Address `json:"to"`
	// Cc are the addresses of the Cc field.
	Cc []Address `json:"cc"`
	// ReplyTo are the addresses of the Reply-To field; empty where it is absent.
	ReplyTo []Address `json:"reply_to"`
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
	// Date is the Date field in RFC 3339, "" where absent or unreadable.
	Date string `json:"date"`
	// Text is the plain body; "" for none. A mail without a plain part has no
	// text.
	Text string `json:"text"`
	// HTML is the HTML body; "" for none.
	HTML string `json:"html"`
	// ReplyText is Text without the mail that it quotes, where a quotation was
	// recognised; null where none was.
	ReplyText *string `json:"reply_text"`
	// Headers are all fields in order, [name, value], unfolded, not decoded.
	Headers [][2]string `json:"headers"`
	// Attachments tell of the parts that are no body, in order.
	Attachments []Attachment `json:"attachments"`
	// Authentication is what is known about the sender.
	Authentication Authentication `json:"authentication"`
	// Size of the raw mail in bytes.
	Size int64 `json:"size"`
	// ReceivedAt is when its last byte came, RFC 3339, UTC, by the database's clock.
	ReceivedAt string `json:"received_at"`
	// RawURL is where the raw mail is fetched, with an API key.
	RawURL string `json:"raw_url"`
	// ParseError says what could not be read; absent where all could.
	ParseError string `json:"parse_error,omitempty"`
	// Truncated names the fields that were cut to fit the size of an event.
	Truncated []string `json:"truncated"`
}

// Envelope is the SMTP envelope as far as it concerns the agent.
type Envelope struct {
	// From is the return path, "" for the null sender.
	From string `json:"from"`
	// To are the recipient addresses of this agent alone, as the client wrote
	// them.
	To []string `json:"to"`
}

// Address is one address of a header field, decoded.
type Address struct {
	// Name is the display name, "" for none.
	Name string `json:"name"`
	// Address is the mail address.
	Address string `json:"address"`
}

// Attachment describes a part of a mail, decoded.
type Attachment struct {
	// Filename is as the sender gave it, "" for none: nothing to trust as a path.
	Filename string `json:"filename"`
	// ContentType is the media type that the sender claims, without parameters.
	ContentType string `json:"content_type"`
	// Size in bytes of the decoded content.
	Size int64 `json:"size"`
	// SHA256 of the decoded content, in hex.
	SHA256 string `json:"sha256"`
	// ContentID is what the HTML refers to as cid:…, without angle brackets.
	ContentID string `json:"content_id"`
	// Inline parts are shown within the text.
	Inline bool `json:"inline"`
	// URL is where the decoded content is fetched, with an API key.
	URL string `json:"url"`
}
