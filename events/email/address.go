package email

// Address is one address of a header field, decoded.
type Address struct {
	// Name is the display name, "" for none.
	Name string `json:"name"`
	// Address is the mail address.
	Address string `json:"address"`
}
