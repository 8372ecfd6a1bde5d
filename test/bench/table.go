package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table prints the results. Figures are "median (min–max)", and "×" is their ratio to the peer's.
func table(w io.Writer, lines []Line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "workload\tsystem\tdeliveries/s\t×\tCPU s/1,000\t×\tp50 ms\t×\tp99 ms\t×\tpeak MB\tB written PG\tNATS\tarrived\twell p99\tp99/well\talone p99\tp99/alone\tafter 5 s\t")
	for i := range lines {
		l := &lines[i]
		fmt.Fprintf(t, "%s\t%s\t", l.Workload, l.System)
		for _, f := range []struct {
			name   string
			digits int
		}{{perSecond, 0}, {cpuPer1000, 3}, {p50Millis, 1}, {p99Millis, 1}} {
			fmt.Fprintf(t, "%s\t%s\t", spreadText(l.Spreads[f.name], f.digits, l.Rounds), ratioText(l.ToRiver, f.name))
		}
		fmt.Fprintf(t, "%.0f\t%.0f\t%.0f\t%d/%d\t", l.MemoryBytes/1e6, l.Written["postgres"], l.Written["nats"], l.N, l.Expected)
		if n := l.Noise; n != nil {
			fmt.Fprintf(t, "%.1f\t%.2f\t%.1f\t%.2f\t%d\t\n", n.WellP99Millis, n.ToWell, n.AloneP99Millis, n.Ratio, n.Arrived5s)
		} else {
			fmt.Fprint(t, "\t\t\t\t\t\n")
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	fmt.Fprintln(w)
	seen := ""
	for i := range lines {
		l := &lines[i]
		if l.Workload != seen {
			fmt.Fprintf(w, "%s: %s\n", l.Workload, l.About)
			seen = l.Workload
		}
		fmt.Fprintf(w, "  %s: CPU s/1,000 %s; peak MB %s", l.System, partsText(l.CPUParts, 1, 3), partsText(l.MemoryParts, 1e6, 0))
		if l.ToFirst != nil {
			fmt.Fprintf(w, "; %.2f × the CPU of the first of %s, %.2f × its throughput", l.ToFirst[cpuPer1000], l.Group, l.ToFirst[perSecond])
		}
		if l.Retries != nil {
			fmt.Fprintf(w, "; %d refused at first, %.0f/s when due again", l.Retries.N, l.Retries.PerSecond)
		}
		if l.AtOnce > 0 {
			fmt.Fprintf(w, "; at most %d requests at once at an endpoint after its first 10 s", l.AtOnce)
		}
		fmt.Fprint(w, l.Handshakes.text(l.N))
		if l.Drop != nil {
			fmt.Fprintf(w, "; the drop took %.0f ms; slowest delivery before it %.1f ms, during it %.1f ms", l.Drop.Took, l.Drop.Before, l.Drop.During)
		}
		if n := l.Noise; n != nil {
			slowest := make([]string, len(n.Slowest))
			for i, s := range n.Slowest {
				slowest[i] = fmt.Sprintf("%.0f ms at %.1f s", s.Millis, s.Sent)
			}
			fmt.Fprintf(w, "; slowest %s", strings.Join(slowest, ", "))
		}
		if l.PostedTwice > 0 {
			fmt.Fprintf(w, "; %d posted twice", l.PostedTwice)
		}
		fmt.Fprintln(w)
	}
	return nil
}

func (h *Handshakes) text(deliveries int) string {
	if h == nil {
		return ""
	}
	return fmt.Sprintf("; %d TLS handshakes, %d of them resumed, and %d DNS questions for %d deliveries", h.Full+h.Resumed, h.Resumed, h.Questions, deliveries)
}

func spreadText(s Spread, digits, rounds int) string {
	if rounds < 2 {
		return fmt.Sprintf("%.*f", digits, s.Median)
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Min, digits, s.Max)
}

func ratioText(to map[string]float64, name string) string {
	if to == nil {
		return ""
	}
	return fmt.Sprintf("%.2f", to[name])
}

func partsText(parts map[string]float64, unit float64, digits int) string {
	var out []string
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		out = append(out, fmt.Sprintf("%s %.*f", part, digits, parts[part]/unit))
	}
	return strings.Join(out, ", ")
}
