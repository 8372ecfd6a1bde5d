package compat

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Breaks names what in "now" breaks somebody who relies on "old". Each begins with the contract's file.
func Breaks(old, now Contracts) ([]string, error) {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(old)) {
		var breaks []string
		var err error
		switch {
		case name == openAPI && old[name] == now[name]: // this one takes longest
		case name == openAPI:
			breaks, err = compareOpenAPI(old[name], now[name])
		case strings.HasPrefix(name, schemas):
			breaks, err = compareSchemas(old, now, name)
		case strings.HasPrefix(name, envelopes):
			breaks, err = compareEnvelopes(old, now, name)
		case name == vectors:
			breaks, err = compareVectors(old[name], now[name])
		default:
			breaks = compareLists(lines(old[name]), lines(now[name]))
		}
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", name, err)
		}
		for _, b := range breaks {
			found = append(found, name+": "+b)
		}
	}
	return found, nil
}

func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// compareLists compares sets of lines. A line that is gone breaks those who use what it says. "SUBJECT: must …" restricts
// what they hand in: there a new line breaks them if there was the subject, and a line that is gone does not.
func compareLists(old, now []string) (breaks []string) {
	old, now = methods(old), methods(now)
	had, has := setOf(old), setOf(now)
	for _, line := range old {
		if !has[line] && !strings.Contains(line, ": must ") {
			breaks = append(breaks, line+" is gone")
		}
	}
	subject := map[string]bool{}
	for _, line := range old {
		for i := range line {
			if strings.HasPrefix(line[i:], ": ") {
				subject[line[:i]] = true
			}
		}
		subject[line] = true
	}
	for _, line := range now {
		of, _, must := strings.Cut(line, ": must ")
		if must && !had[line] && subject[of] && !looser(old, line) {
			breaks = append(breaks, line+" is new")
		}
	}
	return breaks
}

// methods adds what those must have who implement an exported interface.
func methods(list []string) []string {
	for _, line := range slices.Clone(list) {
		if name, ok := strings.CutSuffix(line, " interface"); ok {
			for _, member := range list {
				if method, ok := strings.CutPrefix(member, name+": "); ok {
					list = append(list, name+": must have "+method)
				}
			}
		}
	}
	return list
}

// looser says that a limit was there before, and lets more through now.
func looser(old []string, line string) bool {
	at := strings.LastIndexByte(line, ' ')
	now, err := strconv.ParseFloat(line[at+1:], 64)
	for _, o := range old {
		if err == nil && strings.HasPrefix(o, line[:at+1]) {
			was, err := strconv.ParseFloat(o[at+1:], 64)
			lower := strings.Contains(strings.ToLower(line[:at]), " min") || strings.Contains(line[:at], " exclusiveMin")
			return err == nil && (lower && now < was || !lower && now > was)
		}
	}
	return false
}

func setOf(lines []string) map[string]bool {
	set := map[string]bool{}
	for _, l := range lines {
		set[l] = true
	}
	return set
}

// Accept takes out the breaks that a text lists, and complains about what the text should not have. Each break stands on a
// line, and below it, indented, "NAME: REASON". NAME has to occur under "Changed" in a version of the changelog after the
// release, where users find it. Lines that begin with # are comments. From 1.0.0 on, only a next version with another first
// number may break anything.
func Accept(breaks []string, list, changelog, release, next string) (left, complaints []string) {
	left = slices.Clone(breaks)
	major, _, _ := strings.Cut(release, ".")
	if major != "0" && strings.HasPrefix(next, major+".") {
		return left, nil
	}
	changed := changedSince(changelog, release)
	entry := ""
	for line := range strings.Lines(list) {
		line = strings.TrimRight(line, "\n")
		text, below := strings.CutPrefix(line, "    ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !below:
			if entry != "" {
				complaints = append(complaints, entry+": the line below it has to be \"    NAME: REASON\"")
			}
			entry = line
		default:
			name, reason, ok := strings.Cut(text, ": ")
			at := slices.Index(left, entry)
			switch {
			case !ok || name == "" || strings.TrimSpace(reason) == "":
				complaints = append(complaints, entry+": the line below it has to be \"    NAME: REASON\"")
			case at < 0:
				complaints = append(complaints, entry+": nothing breaks like that; remove it")
			case !strings.Contains(changed, name):
				complaints = append(complaints, fmt.Sprintf("%s: CHANGELOG.md does not say %q under \"Changed\" after %s", entry, name, release))
			default:
				left = slices.Delete(left, at, at+1)
			}
			entry = ""
		}
	}
	if entry != "" {
		complaints = append(complaints, entry+": the line below it has to be \"    NAME: REASON\"")
	}
	return left, complaints
}

// changedSince returns the sections "Changed" above the release's own.
func changedSince(changelog, release string) string {
	newer, _, _ := strings.Cut(changelog, "\n## ["+release+"]")
	var b strings.Builder
	for i, section := range strings.Split(newer, "\n### ") {
		if i > 0 && strings.HasPrefix(section, "Changed\n") {
			section, _, _ = strings.Cut(section, "\n## ")
			b.WriteString(section)
		}
	}
	return b.String()
}
