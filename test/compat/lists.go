package compat

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// lists adds the contracts that are sets of lines. A line begins with its subject and ": ". See [compareLists].
func lists(tree fs.FS, to Contracts) error {
	read := func(name string) string {
		b, err := fs.ReadFile(tree, name)
		if err != nil {
			return ""
		}
		return string(b)
	}
	values, err := flatten(".", read("deploy/chart/values.schema.json"), false)
	if err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	var sources strings.Builder
	files, err := fs.Glob(tree, "internal/stream/*.go")
	for _, f := range files {
		sources.WriteString(read(f))
	}
	for name, lines := range map[string][]string{
		"values.txt":   values,
		"metrics.txt":  metrics(read("docs/reference/metrics.md")),
		"settings.txt": settings(read("docs/reference/configuration.md")),
		"subjects.txt": subjects(read("deploy/nats/accounts.conf")),
		"headers.txt":  headers(read("docs/reference/webhook-requests.md"), read("docs/reference/intake.md"), sources.String()),
	} {
		if len(lines) == 0 {
			err = errors.Join(err, fmt.Errorf("nothing was found for %s", name))
		}
		slices.Sort(lines)
		to[name] = strings.Join(slices.Compact(lines), "\n") + "\n"
	}
	return err
}

// cells returns the cells of a page's table rows whose first cell is code.
func cells(page string) (rows [][]string) {
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| `") {
			row := strings.Split(strings.TrimSpace(line), " | ")
			for i, c := range row {
				row[i] = strings.ReplaceAll(strings.Trim(c, "| "), "`", "")
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// metrics returns the type and the labels of each metric, and the processes that export it. A new label changes what
// queries add up, so the labels are one line.
func metrics(page string) (lines []string) {
	for _, row := range cells(page) {
		if len(row) != 5 || !strings.HasPrefix(row[0], "fanmail_") {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %s{%s}", row[0], row[1], row[2]))
		for process := range strings.SplitSeq(row[3], ", ") {
			lines = append(lines, row[0]+": from "+process)
		}
	}
	return lines
}

// settings returns the flag of each variable, and the processes and commands that have it.
func settings(page string) (lines []string) {
	for _, row := range cells(page) {
		if len(row) != 5 || !strings.HasPrefix(row[0], "FANMAIL_") {
			continue
		}
		lines = append(lines, row[0]+": "+row[1])
		for user := range strings.SplitSeq(row[3], ", ") {
			lines = append(lines, row[0]+": of "+user)
		}
	}
	return lines
}

// subjects returns what accounts export to each other, which names the streams and the consumers too; and what each user
// may do, for processes of the release go on while the broker has the next release's file.
func subjects(accounts string) (lines []string) {
	user, may := "", ""
	for line := range strings.Lines(accounts) {
		line, _, _ = strings.Cut(line, "#")
		for _, m := range regexp.MustCompile(`\{(service|stream): "([^"]+)"`).FindAllStringSubmatch(line, -1) {
			lines = append(lines, m[2]+": "+m[1])
		}
		if m := regexp.MustCompile(`^\s*(user|password): (\S+)`).FindStringSubmatch(line); m != nil {
			if m[1] == "user" {
				user = m[2]
			}
			lines = append(lines, fmt.Sprintf("user %s: %s %s", user, m[1], m[2]))
		}
		if m := regexp.MustCompile(`(publish|subscribe): \[`).FindStringSubmatch(line); m != nil {
			may = m[1]
		}
		if strings.Contains(line, "allow_responses: true") {
			lines = append(lines, "user "+user+": may answer")
		}
		for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(line, -1) {
			if may != "" {
				lines = append(lines, fmt.Sprintf("user %s: may %s %s", user, may, m[1]))
			}
		}
		if strings.Contains(line, "]") {
			may = ""
		}
	}
	return lines
}

// headers returns those of webhook requests and of messages in NATS.
func headers(requests, intake, sources string) (lines []string) {
	tables := func(kind, page string) {
		for table := range strings.SplitSeq(page, "\n\n") {
			if !strings.HasPrefix(table, "| header |") {
				continue
			}
			for _, row := range cells(table) {
				lines = append(lines, kind+": "+row[0])
			}
		}
	}
	tables("webhook request", requests)
	tables("intake message", intake)
	for _, m := range regexp.MustCompile(`Header\w+\s*=\s*"([^"]+)"`).FindAllStringSubmatch(sources, -1) {
		lines = append(lines, "message in a stream: "+m[1])
	}
	return lines
}
