package mailparse

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Calendar is the first event of an invitation or of an answer to one (RFC 5545, 5546).
type Calendar struct {
	Method    string // "REQUEST", "REPLY", "CANCEL", …; "" for none
	UID       string
	Summary   string
	Location  string
	Start     CalendarTime
	End       CalendarTime // zero for none
	Organizer Address
	Sequence  string // a number, "" for none
	Status    string // "CONFIRMED", "CANCELLED", …; "" for none
}

// CalendarTime is a date "2024-07-17", or a date and time "2024-07-17T15:00:00", with "Z" for UTC.
type CalendarTime struct {
	Value string
	Zone  string // the sender's name of the time zone, "" for none
}

// Limits of a calendar.
const (
	maxCalendar      = 256 << 10 // bytes that are read
	maxCalendarValue = 4 << 10
)

// readCalendar reads the first event of the first calendar among the parts, nil for none.
func (r *reader) readCalendar(root *part) *Calendar {
	if !root.multipart() || len(root.children) == 0 {
		if root.kind.value != "text/calendar" && root.kind.value != "application/ics" {
			return nil
		}
		return parseCalendar(r.calendarText(root), root.kind.params["method"])
	}
	for _, p := range root.children {
		if c := r.readCalendar(p); c != nil {
			return c
		}
	}
	return nil
}

func (r *reader) calendarText(p *part) string {
	d, _ := transferDecoder(p.encoding)
	var raw []byte
	decodeTransfer(r.b, d, p.content, func(piece []byte) bool {
		raw = append(raw, piece...)
		return len(raw) < maxCalendar
	})
	if !r.b.spend(6 * len(raw)) {
		return ""
	}
	label := p.kind.params["charset"]
	if label == "" {
		label = "utf-8" // RFC 5545, 3.1.4
	}
	s, _ := decodeCharset(raw[:min(len(raw), maxCalendar)], label)
	return Text(s)
}

// parseCalendar reads the properties of the first event. It is nil if there is no event.
func parseCalendar(text, method string) *Calendar {
	c := &Calendar{Method: strings.ToUpper(method)}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.NewReplacer("\n ", "", "\n\t", "").Replace(text) // folded lines
	inside := 0                                                     // components within the event, counted with it
	lasts := ""
	for line := range strings.SplitSeq(text, "\n") {
		name, params, value := property(line)
		switch {
		case inside == 0 && name == "METHOD":
			c.Method = strings.ToUpper(value)
		case name == "BEGIN" && (inside > 0 || strings.EqualFold(value, "VEVENT")):
			inside++
		case name == "END" && inside > 1:
			inside-- // a component within the event
		case name == "END" && inside == 1:
			c.endAfter(lasts)
			return c
		case inside == 1 && name == "DURATION":
			lasts = value
		case inside == 1:
			c.set(name, params, value)
		}
	}
	if inside == 0 {
		return nil
	}
	c.endAfter(lasts)
	return c
}

// duration is that of RFC 5545, 3.3.6.
var duration = regexp.MustCompile(`^\+?P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?$`)

// endAfter sets the end of an event that says how long it lasts.
func (c *Calendar) endAfter(lasts string) {
	found := duration.FindStringSubmatch(strings.ToUpper(lasts))
	if found == nil || c.End.Value != "" || c.Start.Value == "" {
		return
	}
	var sum time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(found[i+1]) // "" is 0
		sum += time.Duration(n) * unit
	}
	for _, layout := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04:05", time.DateOnly} {
		if start, err := time.Parse(layout, c.Start.Value); err == nil {
			c.End = CalendarTime{Value: start.Add(sum).Format(layout), Zone: c.Start.Zone}
			return
		}
	}
}

func (c *Calendar) set(name string, params map[string]string, value string) {
	switch name {
	case "UID":
		c.UID = value
	case "SUMMARY":
		c.Summary = unescape(value)
	case "LOCATION":
		c.Location = unescape(value)
	case "SEQUENCE":
		c.Sequence = value
	case "STATUS":
		c.Status = strings.ToUpper(value)
	case "DTSTART":
		c.Start = calendarTime(params, value)
	case "DTEND":
		c.End = calendarTime(params, value)
	case "ORGANIZER":
		c.Organizer = Address{Name: params["CN"], Address: addrSpec(value)}
	}
}

// property splits a line such as DTSTART;TZID=Europe/Berlin:20240717T150000.
func property(line string) (name string, params map[string]string, value string) {
	line = Cut(line, maxCalendarValue)
	params = map[string]string{}
	quoted := false
	start := 0
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case quoted || c != ';' && c != ':':
		default:
			if name == "" {
				name = strings.ToUpper(line[:i])
			} else if key, v, ok := strings.Cut(line[start:i], "="); ok && len(params) < maxParams {
				params[strings.ToUpper(key)] = strings.Trim(v, `"`)
			}
			start = i + 1
			if c == ':' {
				return name, params, strings.TrimSpace(line[start:])
			}
		}
	}
	return "", params, ""
}

func unescape(v string) string {
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\N`, "\n", `\,`, ",", `\;`, ";").Replace(v)
}

// calendarTime reads 20240717, 20240717T150000 or 20240717T150000Z. What is none of them has no value.
func calendarTime(params map[string]string, v string) CalendarTime {
	digits := strings.TrimSuffix(v, "Z")
	date, clock, timed := strings.Cut(digits, "T")
	if len(date) != 8 || strings.Trim(date, "0123456789") != "" || timed && (len(clock) != 6 || strings.Trim(clock, "0123456789") != "") {
		return CalendarTime{}
	}
	t := CalendarTime{Value: date[:4] + "-" + date[4:6] + "-" + date[6:]}
	if !timed {
		return t
	}
	t.Value += "T" + clock[:2] + ":" + clock[2:4] + ":" + clock[4:]
	if len(digits) < len(v) {
		t.Value += "Z"
	} else {
		t.Zone = params["TZID"]
	}
	return t
}
