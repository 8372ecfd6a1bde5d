package operator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/internal/activity"
)

// The severities.
const (
	critical = "critical" // receivers get nothing, or soon
	warning  = "warning"
)

const (
	late = time.Minute // of the outbox and of due deliveries
	slow = 10 * time.Second
	// fewAttempts are too few to judge by.
	fewAttempts = 20
	// daysReady is what maintenance keeps ready at least.
	daysReady = 6
	// recently is how long a process that is gone is told of. One that stops in order is forgotten at once.
	recently = time.Hour
)

// alerts returns the conditions that hold, critical ones first. The thresholds are those of the rules. Rules with a
// duration hold here at once.
func alerts(s *SystemStats, m *activity.Merged) []Alert {
	out := []Alert{}
	add := func(is bool, severity, name, format string, args ...any) {
		if is {
			out = append(out, Alert{Name: name, Severity: severity, Text: fmt.Sprintf(format, args...)})
		}
	}
	oldest := time.Duration(s.Outbox.OldestSeconds * float64(time.Second))
	add(oldest > late, critical, "FanmailOutboxStuck", "An accepted event has waited for %s to be fanned out.", round(oldest))
	unowned := 0
	for _, p := range s.Partitions {
		if p.Unowned {
			unowned++
		}
	}
	add(unowned > 0, critical, "FanmailPartitionsUnowned", "%d of %d partitions have no owner; webhooks in them get nothing.", unowned, len(s.Partitions))
	add(s.Database.DaysReady < daysReady, critical, "FanmailMaintenanceStale", "Partitions are ready for %d days only; without new ones nothing is accepted then.", s.Database.DaysReady)
	add(m.Holding.PastBroker, warning, "FanmailPastBroker", "The broker does not deliver events; deliveries go on without it, more slowly.")
	add(m.Holding.OldestDue() > late, warning, "FanmailDeliveriesLate", "Deliveries to healthy endpoints have waited for %s.", round(m.Holding.OldestDue()))
	lags, attempts, unanswered := lastMinutes(m, 10)
	if p99, ok := lags.Quantile(0.99); ok {
		add(p99 > slow, warning, "FanmailFirstAttemptsSlow", "1 %% of events wait over %s for their first attempt.", round(p99))
	}
	add(attempts >= fewAttempts && 2*unanswered > attempts, warning, "FanmailAttemptsFailing", "%d %% of attempts get no answer: check DNS and the outbound network.", 100*unanswered/max(attempts, 1))
	out = append(out, ofProcesses(s)...)
	slices.SortStableFunc(out, func(a, b Alert) int { return cmp.Compare(a.Severity, b.Severity) })
	return out
}

// ofProcesses are the alerts of processes that are gone or not well.
func ofProcesses(s *SystemStats) []Alert {
	alive := map[string]int{}
	for i := range s.Processes {
		if p := &s.Processes[i]; p.Status != gone {
			alive[p.Kind]++
			alive[p.Kind+" "+p.Name]++
		}
	}
	var out []Alert
	told := map[string]bool{}
	for i := range s.Processes {
		p := &s.Processes[i]
		switch name := p.Kind + " " + p.Name; {
		case p.Status != gone:
			for _, t := range p.Trouble {
				if t.Status == "failing" {
					out = append(out, Alert{Name: "FanmailComponentFailing", Severity: warning, Text: fmt.Sprintf("%s of %s: %s", t.Component, name, t.Text)})
				}
			}
		case s.At.Sub(p.Seen) > recently, alive[name] > 0, told[name]:
		case alive[p.Kind] == 0 && alive["up"] == 0:
			told[name] = true
			out = append(out, Alert{Name: "FanmailNoProcess", Severity: critical, Text: fmt.Sprintf("No %s runs; %s was seen last, %s ago.", p.Kind, p.Name, round(s.At.Sub(p.Seen)))})
		default:
			told[name] = true
			out = append(out, Alert{Name: "FanmailProcessDown", Severity: warning, Text: fmt.Sprintf("%s has not been seen for %s; others of its kind go on.", name, round(s.At.Sub(p.Seen)))})
		}
	}
	return out
}

const gone = "gone"

// lastMinutes adds up the last minutes with activity.
func lastMinutes(m *activity.Merged, n int) (lags activity.Lags, attempts, unanswered uint64) {
	for i := range m.Minutes {
		if one := &m.Minutes[i]; m.Lately.At-one.At < int64(n)*60 {
			lags.Add(&one.Lags)
			attempts += one.Attempts
			unanswered += one.Unanswered
		}
	}
	return lags, attempts, unanswered
}

func round(d time.Duration) time.Duration {
	if d >= time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}

func worst(list []Alert) string {
	if len(list) == 0 {
		return "ok"
	}
	return list[0].Severity // they are sorted
}
