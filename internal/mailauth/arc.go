package mailauth

import (
	"strconv"

	"github.com/fanmail-dev/fanmail/events/email"
)

// maxSets is the highest instance of an ARC set, by RFC 8617, 4.2.1.
const maxSets = 50

// readARC returns what the mail's ARC chain claims. It verifies no signature of it.
func readARC(m *Mail) email.ARC {
	var v email.ARC
	var seen [maxSets + 1][3]int
	valid := true
	for kind, name := range []string{"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"} {
		for _, value := range m.all(name) {
			t := tags(value)
			i, err := strconv.Atoi(t["i"])
			if err != nil || i < 1 || i > maxSets {
				valid = false
				continue
			}
			seen[i][kind]++
			v.Sets = max(v.Sets, i)
		}
	}
	for _, value := range m.all("ARC-Seal") {
		if t := tags(value); t["i"] == strconv.Itoa(v.Sets) && v.Sets > 0 {
			v.Sealer = clean(ascii(t["d"]), maxDomainBytes)
			switch cv := t["cv"]; cv {
			case "none", "pass", "fail":
				v.ChainValidation = cv
			}
			break
		}
	}
	v.Complete = valid && v.Sets > 0
	for i := 1; i <= v.Sets; i++ {
		v.Complete = v.Complete && seen[i] == [3]int{1, 1, 1}
	}
	return v
}
