package browser_test

// consolePath is what the paths of the console begin with.
const consolePath = "/console"

// signIn signs in with an API key, as its form says.
func (b *tab) signIn(key string) {
	b.t.Helper()
	b.open(consolePath + "/sign-in")
	b.fill("API key", key)
	b.press("Sign in")
	b.until("a page behind the sign-in", `location.pathname !== `+quote(consolePath+"/sign-in")+` && document.readyState === "complete"`)
}
