package secret

import "regexp"

var (
	userinfo = regexp.MustCompile(`(://)\S*@`)
	password = regexp.MustCompile(`(?i)\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|\S+)`)
	token    = regexp.MustCompile(`\b(fm_|whsec_)[A-Za-z0-9+/=_-]+`)
)

// Mask hides what looks like a secret in a line of output: user name and password
// of a URL, password=… of a Postgres connection string, API keys and signing
// secrets.
func Mask(line string) string {
	line = userinfo.ReplaceAllString(line, "${1}"+hidden+"@")
	line = password.ReplaceAllString(line, "${1}"+hidden)
	return token.ReplaceAllString(line, "${1}"+hidden)
}
