package email

// MilterAction is what a milter decided about a mail that was accepted.
type MilterAction string

// The values of [MilterAction].
const (
	// MilterAccept lets the mail pass.
	MilterAccept MilterAction = "accept"
	// MilterQuarantine wants the mail held back until somebody has looked at it.
	MilterQuarantine MilterAction = "quarantine"
	// MilterUnavailable means that the milter was not asked, or did not answer, and that the operator accepts mail then.
	MilterUnavailable MilterAction = "unavailable"
)

// Milter is what one milter, such as a spam filter, said about the mail.
type Milter struct {
	// Name is the operator's name for the milter.
	Name string `json:"name"`
	// Action is "accept", "quarantine" or "unavailable". Mails that a milter refuses or discards make no event.
	Action MilterAction `json:"action"`
	// Reason is why the mail is to be held back; "" unless Action is "quarantine".
	Reason string `json:"reason"`
	// Spam is what the milter's header fields say, such as X-Spam-Flag; null if they don't.
	Spam *bool `json:"spam"`
	// Score is the spam score of the milter's header fields, such as X-Spam-Score; null if they have none.
	Score *float64 `json:"score"`
	// Headers are the fields that the milter added or changed, [name, value], unfolded. A field that it removed has the
	// value "".
	Headers [][2]string `json:"headers"`
	// BodyReplaced is true if the milter put another body in place of the mail's.
	BodyReplaced bool `json:"body_replaced"`
	// Truncated is true if Headers lacks fields or parts of values, because they are too long.
	Truncated bool `json:"truncated"`
}
