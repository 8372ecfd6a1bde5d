package email

// Result is the result of one check, as RFC 8601 names it.
type Result string

// The results. Every failure of DNS is TempError: nothing is known.
const (
	None      Result = "none"      // there was nothing to check
	Pass      Result = "pass"      // the check passed
	Fail      Result = "fail"      // the check failed
	SoftFail  Result = "softfail"  // SPF: the domain says that the client is probably not allowed
	Neutral   Result = "neutral"   // SPF: the domain makes no statement about this client
	Policy    Result = "policy"    // DKIM: a kind of signature that is not accepted here
	TempError Result = "temperror" // DNS failed, or the time limit was reached
	PermError Result = "permerror" // the record, the signature or the mail is not usable
)

// Authentication holds the results of authenticating the sender. If Checked is false,
// nothing was checked and every result is "none". A mail is never refused because of
// these results: the receiver decides what they mean.
type Authentication struct {
	// Checked reports whether the checks were made.
	Checked bool `json:"checked"`
	// Results is the value of an Authentication-Results field (RFC 8601) with these
	// results; "" if nothing was checked. The fields of that name among the mail's
	// headers are the sender's claims.
	Results string `json:"results"`
	// SPF is whether the client may send for the envelope's domain.
	SPF SPF `json:"spf"`
	// DKIM has one result for each signature, in the order of the header.
	DKIM []DKIM `json:"dkim"`
	// DMARC is whether the author's domain confirms the mail.
	DMARC DMARC `json:"dmarc"`
	// ARC is what earlier relays claim to have seen.
	ARC ARC `json:"arc"`
}

// SPF is the result of RFC 7208.
type SPF struct {
	// Result is none, neutral, pass, fail, softfail, temperror or permerror.
	Result Result `json:"result"`
	// Domain is the domain that was checked: that of the return path, or that of the
	// HELO if the return path is null. "" for none.
	Domain string `json:"domain"`
	// ClientIP is the address that the mail came from; "" if nothing was checked.
	ClientIP string `json:"client_ip"`
	// Helo is the name that the client gave in HELO or EHLO.
	Helo string `json:"helo"`
	// Aligned reports whether Domain is the author's domain. The author's DMARC record
	// can ask for an exact match. Otherwise the organizational domains must match.
	Aligned bool `json:"aligned"`
	// Reason is a short explanation for people; "" for none.
	Reason string `json:"reason"`
}

// DKIM is the result for one signature (RFC 6376).
type DKIM struct {
	// Result is pass, fail, policy, temperror or permerror.
	Result Result `json:"result"`
	// Domain is the signer's domain, d=.
	Domain string `json:"domain"`
	// Selector names the key, s=.
	Selector string `json:"selector"`
	// Identity is the user or agent for whom the domain signed, i=; "" if it cannot be
	// read.
	Identity string `json:"identity"`
	// Aligned reports whether Domain is the author's domain, as in SPF.
	Aligned bool `json:"aligned"`
	// Reason is a short explanation for people; "" for none.
	Reason string `json:"reason"`
}

// DMARC is the result of RFC 7489 on the domain in From.
type DMARC struct {
	// Result is none, pass, fail, temperror or permerror.
	Result Result `json:"result"`
	// Domain is the author's domain, from the From field; "" for none.
	Domain string `json:"domain"`
	// RecordDomain is the domain whose record applies: Domain itself or its
	// organizational domain; "" if there is no record.
	RecordDomain string `json:"record_domain"`
	// Policy is what the record asks for if the result is fail: "none", "quarantine"
	// or "reject"; "" if there is no record.
	Policy string `json:"policy"`
	// Percent is the part of the mail to which Policy applies, 0 to 100; 0 if there is
	// no record.
	Percent int `json:"percent"`
	// Reason is a short explanation for people; "" for none.
	Reason string `json:"reason"`
}

// ARC describes the chain of RFC 8617. Its seals are not verified, so this is a claim.
type ARC struct {
	// Sets is the number of the newest set; 0 if there is no chain.
	Sets int `json:"sets"`
	// Complete reports whether every set from 1 to Sets has each of its three fields
	// once.
	Complete bool `json:"complete"`
	// ChainValidation is cv= of the newest seal, the last relay's result for the chain
	// before it: "none", "pass" or "fail"; "" if it has none.
	ChainValidation string `json:"chain_validation"`
	// Sealer is the domain of the newest seal, d=.
	Sealer string `json:"sealer"`
}
