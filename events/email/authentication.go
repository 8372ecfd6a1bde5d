package email

// Result is the outcome of one check, in the words of RFC 8601.
type Result string

// The results. TempError is every failure of DNS: it says that nothing is
// known, and never stands for a guess.
const (
	None      Result = "none"      // there was nothing to check
	Pass      Result = "pass"      // it holds
	Fail      Result = "fail"      // it does not hold
	SoftFail  Result = "softfail"  // SPF: probably not, says the domain
	Neutral   Result = "neutral"   // SPF: the domain says nothing of this client
	Policy    Result = "policy"    // DKIM: of a kind that is not accepted here
	TempError Result = "temperror" // DNS failed, or the time was over
	PermError Result = "permerror" // the record, the signature or the mail is unusable
)

// Authentication holds the results of authenticating the sender. While Checked is false
// nothing was looked at and every result is "none". A mail is never refused
// for them: what they mean is for the receiver to decide.
type Authentication struct {
	// Checked says that the checks were made.
	Checked bool `json:"checked"`
	// Results is the value of an Authentication-Results field (RFC 8601) with
	// these results; "" where nothing was checked. The fields of that name
	// among the mail's headers are the sender's claims.
	Results string `json:"results"`
	// SPF is whether the client may send for the envelope's domain.
	SPF SPF `json:"spf"`
	// DKIM are the signatures, in the order of the header.
	DKIM []DKIM `json:"dkim"`
	// DMARC is whether the author's domain stands behind the mail.
	DMARC DMARC `json:"dmarc"`
	// ARC is what relays before claim to have seen.
	ARC ARC `json:"arc"`
}

// SPF is the result of RFC 7208.
type SPF struct {
	// Result is none, neutral, pass, fail, softfail, temperror or permerror.
	Result Result `json:"result"`
	// Domain is the one that was checked: the return path's, or the HELO's
	// where that is the null sender. "" for none.
	Domain string `json:"domain"`
	// ClientIP is the address that the mail came from; "" where nothing was checked.
	ClientIP string `json:"client_ip"`
	// Helo is the name by which the client greeted.
	Helo string `json:"helo"`
	// Aligned says that Domain is the author's, as his DMARC record asks:
	// strictly, or by the organisational domain, which is the rule without a
	// record.
	Aligned bool `json:"aligned"`
	// Reason is a few words for people; "" where there is nothing to add.
	Reason string `json:"reason"`
}

// DKIM is the result for one signature (RFC 6376).
type DKIM struct {
	// Result is pass, fail, policy, temperror or permerror.
	Result Result `json:"result"`
	// Domain is the signer's, d=.
	Domain string `json:"domain"`
	// Selector names the key, s=.
	Selector string `json:"selector"`
	// Identity is on whose behalf it was signed, i=; "" where the signature is
	// too broken to tell.
	Identity string `json:"identity"`
	// Aligned says that Domain is the author's, as with SPF.
	Aligned bool `json:"aligned"`
	// Reason is a few words for people; "" where there is nothing to add.
	Reason string `json:"reason"`
}

// DMARC is the result of RFC 7489 on the domain in From.
type DMARC struct {
	// Result is none, pass, fail, temperror or permerror.
	Result Result `json:"result"`
	// Domain is the author's, of the From field; "" where there is none.
	Domain string `json:"domain"`
	// RecordDomain is the domain whose record applies: Domain itself or its
	// organisational domain; "" where there is no record.
	RecordDomain string `json:"record_domain"`
	// Policy is what the record asks for where the result is fail: "none",
	// "quarantine" or "reject"; "" without a record.
	Policy string `json:"policy"`
	// Percent of the mail that Policy is asked for, 0 to 100; 0 without a
	// record.
	Percent int `json:"percent"`
	// Reason is a few words for people; "" where there is nothing to add.
	Reason string `json:"reason"`
}

// ARC tells of the chain of RFC 8617. Its seals are not verified here.
type ARC struct {
	// Sets is the number of the newest set, 0 where there is no chain.
	Sets int `json:"sets"`
	// Complete says that every set from 1 to Sets has its three fields, once.
	Complete bool `json:"complete"`
	// ChainValidation is cv= of the newest seal: what the last relay says of
	// the chain before it: "none", "pass", "fail", or "" where it says nothing.
	ChainValidation string `json:"chain_validation"`
	// Sealer is the domain of the newest seal, d=.
	Sealer string `json:"sealer"`
}
