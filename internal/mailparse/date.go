package mailparse

import (
	"strconv"
	"strings"
	"time"
)

// zones are the names of time zones in mail, in hours and minutes east: "+0530" is 530. Names with several meanings
// have the one that mail programs take.
var zones = map[string]int{
	"UT": 0, "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 100, "BST": 100, "CET": 100, "MET": 100, "MEZ": 100, "CEST": 200,
	"MEST": 200, "MESZ": 200, "EET": 200, "EEST": 300, "MSK": 300, "MSD": 400, "IST": 530, "PKT": 500, "ICT": 700, "HKT": 800,
	"SGT": 800, "AWST": 800, "JST": 900, "KST": 900, "ACST": 930, "AEST": 1000, "ACDT": 1030, "AEDT": 1100, "NZST": 1200,
	"NZDT": 1300, "EST": -500, "EDT": -400, "CST": -600, "CDT": -500, "MST": -700, "MDT": -600, "PST": -800, "PDT": -700,
	"AST": -400, "ADT": -300, "NST": -330, "NDT": -230, "AKST": -900, "AKDT": -800, "HST": -1000, "BRT": -300, "ART": -300,
}

var months = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

// localMonths are the beginnings of months that programs write in the language of their users, where they differ from
// the English ones.
var localMonths = map[string]int{
	"ene": 1, "gen": 1, "fév": 2, "fev": 2, "mär": 3, "mrz": 3, "mrt": 3, "maa": 3, "avr": 4, "abr": 4, "mai": 5, "mag": 5, "mei": 5,
	"maj": 5, "jui": 6, "giu": 6, "lug": 7, "aoû": 8, "aou": 8, "ago": 8, "set": 9, "okt": 10, "out": 10, "ott": 10,
	"dez": 12, "déc": 12, "dic": 12, "des": 12,
}

// maxMonth is how much of a month is looked at, in bytes.
const maxMonth = 12

// maxDate is how much of a Date field is read, in bytes.
const maxDate = 256

// dateReader collects the parts of a date, in whatever order they come.
type dateReader struct {
	year, month, day  int
	clock             time.Duration
	hasClock, hasZone bool
	afternoon         int // 12 for PM, 0 for AM, -1 for neither
	zone              int // seconds east
	comment           int
	hasComment        bool
}

// Date reads a Date field: RFC 5322 with its obsolete forms, ISO 8601, and what real programs write. A date without a
// time zone is taken as UTC. ok is false if it is no date.
func Date(v string) (t time.Time, ok bool) {
	d := dateReader{year: -1, afternoon: -1}
	v = Text(Cut(v, maxDate))
	plain, comments := takeComments(v)
	for _, c := range comments {
		if east, ok := zone(strings.TrimSpace(c)); ok {
			d.comment, d.hasComment = east, true
		}
	}
	plain = strings.NewReplacer(" : ", ":", " :", ":", ": ", ":").Replace(plain)
	for _, w := range strings.FieldsFunc(plain, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == '\r' || r == '\n' || r == '"' }) {
		if !d.word(w) {
			return t, false
		}
	}
	return d.time()
}

func takeComments(v string) (plain string, comments []string) {
	for {
		i := strings.IndexByte(v, '(')
		if i < 0 {
			return plain + v, comments
		}
		text, n := readComment(v[i:])
		plain += v[:i] + " "
		comments = append(comments, text)
		v = v[i+n:]
	}
}

// word reads one word. It skips words that it does not know, such as the day of the week.
func (d *dateReader) word(w string) bool {
	switch upper := strings.ToUpper(w); {
	case strings.Contains(w, ":") || d.month > 0 && !d.hasClock && strings.Count(w, ".") == 2:
		return d.time24(w)
	case upper == "AM":
		d.afternoon = 0
	case upper == "PM":
		d.afternoon = 12
	case d.hasClock && (w[0] == '+' || w[0] == '-'):
		d.setZone(w)
	case w[0] >= '0' && w[0] <= '9':
		return d.number(w)
	default:
		if m := month(w); m > 0 {
			d.month = m
		} else if d.hasClock {
			d.setZone(w)
		}
	}
	return true
}

func (d *dateReader) setZone(w string) {
	if east, ok := zone(w); ok && (!d.hasZone || w[0] == '+' || w[0] == '-') {
		d.zone, d.hasZone = east, true
	}
}

func month(w string) int {
	w = strings.ToLower(strings.TrimRight(w, "."))
	for i, m := range months {
		if strings.HasPrefix(w, m) {
			return i + 1
		}
	}
	if strings.HasPrefix(w, "juil") {
		return 7
	}
	short := []rune(Cut(w, maxMonth))
	return localMonths[string(short[:min(len(short), 3)])]
}

// number reads a day, a year, or a date in one word: 17-Jul-2024, 2024-07-17, 2024-07-17T15:02:19Z.
func (d *dateReader) number(w string) bool {
	if parts := strings.FieldsFunc(w, func(r rune) bool { return r == '-' || r == '/' }); len(parts) == 3 {
		if m := month(parts[1]); m > 0 {
			d.month = m
			return d.number(parts[0]) && d.number(parts[2])
		}
		if len(parts[0]) != 4 {
			return false // the order of day and month is not known
		}
		m, err := strconv.Atoi(parts[1])
		d.month = m
		return err == nil && d.number(parts[0]) && d.number(parts[2])
	}
	n, err := strconv.Atoi(strings.TrimRight(strings.ToLower(w), "stndrh."))
	if err != nil {
		return d.hasClock // trailing noise
	}
	digits := len(strings.TrimRight(w, "."))
	switch {
	case d.day == 0 && n >= 1 && n <= 31 && digits <= 2:
		d.day = n
	case d.year >= 0:
		return d.hasClock
	case digits <= 2 && n < 50:
		d.year = 2000 + n // RFC 5322, 4.3
	case digits <= 3:
		d.year = 1900 + n
	default:
		d.year = n
	}
	return true
}

// time24 reads 15:02, 15:02:19, 15:02:19.5, each with or without a date before it and a zone behind it.
func (d *dateReader) time24(w string) bool {
	if date, rest, ok := strings.Cut(w, "T"); ok && strings.Count(date, "-") == 2 {
		if !d.number(date) {
			return false
		}
		w = rest
	}
	if d.hasClock {
		d.setZone(w)
		return true
	}
	clock := w
	if i := strings.IndexAny(w, "+-Zz"); i > 0 {
		clock = w[:i]
		d.hasClock = true
		d.setZone(w[i:])
	} else if i := strings.IndexFunc(w, func(r rune) bool { return r >= 'A' && r <= 'z' }); i > 0 {
		clock = w[:i]
		d.hasClock = true
		if !d.word(w[i:]) {
			return false
		}
	}
	if strings.Count(clock, ".") == 2 {
		clock = strings.ReplaceAll(clock, ".", ":")
	}
	clock, _, _ = strings.Cut(clock, ".") // fractions
	parts := strings.Split(clock, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return false
	}
	units := []time.Duration{time.Hour, time.Minute, time.Second}
	for i, limit := range []int{24, 59, 60}[:len(parts)] {
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < 0 || n > limit {
			return false
		}
		d.clock += time.Duration(n) * units[i]
	}
	d.hasClock = true
	return true
}

// zone reads a time zone, in seconds east: +0200, +02:00, +2, GMT+2, EDT.
func zone(w string) (seconds int, ok bool) {
	upper := strings.ToUpper(strings.Trim(w, "()\"."))
	if known, ok := zones[upper]; ok {
		return known/100*3600 + known%100*60, true
	}
	for _, prefix := range []string{"GMT", "UTC", "UT"} {
		if rest, ok := strings.CutPrefix(upper, prefix); ok && rest != "" {
			upper = strings.TrimSpace(rest)
			break
		}
	}
	if len(upper) == 1 && upper[0] >= 'A' && upper[0] <= 'Y' {
		return 0, true // RFC 5322, 4.3: military zones were used with either sign
	}
	if len(upper) < 2 || upper[0] != '+' && upper[0] != '-' {
		return 0, false
	}
	digits := strings.ReplaceAll(upper[1:], ":", "")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 {
		return 0, false
	}
	if len(digits) <= 2 {
		n *= 100
	}
	if n%100 > 59 || n/100 > 23 {
		return 0, true // no offset of this world: RFC 5322 says that it says nothing
	}
	seconds = n/100*3600 + n%100*60
	if upper[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func (d *dateReader) time() (t time.Time, ok bool) {
	if d.day == 0 || d.month < 1 || d.month > 12 || d.year < 1 || d.year > 9999 || !d.hasClock {
		return t, false
	}
	if d.afternoon >= 0 {
		hours := d.clock / time.Hour
		d.clock += time.Duration(d.afternoon)*time.Hour - hours/12*12*time.Hour
	}
	if !d.hasZone && d.hasComment {
		d.zone = d.comment
	}
	place := time.UTC
	if d.zone != 0 {
		place = time.FixedZone("", d.zone)
	}
	t = time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, place)
	if t.Day() != d.day {
		return t, false // 30 February
	}
	return t.Add(d.clock), true
}
