package email

// Bounce is what a mail server reports about a mail that was sent before, by RFC 3464 or in a form of its own.
type Bounce struct {
	// Recipient is the first that the mail could not be delivered to, or the first at all.
	Recipient string `json:"recipient"`
	// Action is "failed", "delayed", "delivered", "relayed" or "expanded", for Recipient.
	Action string `json:"action"`
	// Status is the enhanced status code, such as "5.1.1", for Recipient; "" for none.
	Status string `json:"status"`
	// Diagnostic are the words of the refusing server for Recipient, "" for none.
	Diagnostic string `json:"diagnostic"`
	// OriginalMessageID is the Message-ID of the mail that the report is about, without angle brackets; "" for unknown.
	OriginalMessageID string `json:"original_message_id"`
	// ReportingMTA is the server that reports, "" for unknown.
	ReportingMTA string `json:"reporting_mta"`
	// Recipients are all that the report is about, at most 100.
	Recipients []BouncedRecipient `json:"recipients"`
}

// BouncedRecipient is what a report says about one recipient. The fields are those of [Bounce].
type BouncedRecipient struct {
	// Recipient is the address that the mail was sent to.
	Recipient string `json:"recipient"`
	// Action is "failed", "delayed", "delivered", "relayed" or "expanded".
	Action string `json:"action"`
	// Status is the enhanced status code, "" for none.
	Status string `json:"status"`
	// Diagnostic are the words of the refusing server, "" for none.
	Diagnostic string `json:"diagnostic"`
}

// Complaint is the report that a recipient complained about a mail (ARF, RFC 5965).
type Complaint struct {
	// FeedbackType is "abuse", "fraud", "not-spam" and the like.
	FeedbackType string `json:"feedback_type"`
	// Recipient is who complained, if the report says so; else "".
	Recipient string `json:"recipient"`
	// OriginalMessageID is the Message-ID of the mail that the report is about, without angle brackets; "" for unknown.
	OriginalMessageID string `json:"original_message_id"`
	// ReportingMTA is the server that reports, "" for unknown.
	ReportingMTA string `json:"reporting_mta"`
}

// Bounced is the "data" of the email.bounced event that is made of a report. Anybody can write such a mail: see the
// authentication of the email.received event with the same message_id. Events that are published by others may have
// other data.
type Bounced struct {
	// MessageID is the id of the report that the agent received, "msg_…".
	MessageID string `json:"message_id"`
	// ConversationID is the conversation of the report, which is that of the original mail where it is known.
	ConversationID string `json:"conversation_id"`
	// AgentID is the address of the agent whose mail was not delivered.
	AgentID string `json:"agent_id"`
	// Bounce is the report.
	Bounce Bounce `json:"bounce"`
	// ReceivedAt is when the report arrived, RFC 3339, UTC.
	ReceivedAt string `json:"received_at"`
}

// Complained is the "data" of the email.complained event that is made of a report. What is said of [Bounced] holds for
// it too.
type Complained struct {
	// MessageID is the id of the report that the agent received, "msg_…".
	MessageID string `json:"message_id"`
	// ConversationID is the conversation of the report, which is that of the original mail where it is known.
	ConversationID string `json:"conversation_id"`
	// AgentID is the address of the agent whose mail the recipient complained about.
	AgentID string `json:"agent_id"`
	// Complaint is the report.
	Complaint Complaint `json:"complaint"`
	// ReceivedAt is when the report arrived, RFC 3339, UTC.
	ReceivedAt string `json:"received_at"`
}
