package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Line is one line of the results: a workload on a system. Figures are medians over the rounds, counts
// are sums.
type Line struct {
	Workload    string  `json:"workload"`
	System      string  `json:"system"`
	PerSecond   float64 `json:"per_s"`
	CPUPer1000  float64 `json:"cpu_s_per_1000"`
	P50Millis   float64 `json:"p50_ms"`
	P99Millis   float64 `json:"p99_ms"`
	N           int     `json:"n"`
	Expected    int     `json:"expected"`
	PostedTwice int     `json:"posted_twice"`
	Rounds      int     `json:"rounds"`
	About       string  `json:"about"`
	// Spreads by the names of the figures above.
	Spreads map[string]Spread `json:"spreads"`
	// CPUParts are the parts of CPUPer1000.
	CPUParts map[string]float64 `json:"cpu_parts"`
	// MemoryBytes is the sum of the parts' peaks.
	MemoryBytes float64            `json:"peak_rss_bytes"`
	MemoryParts map[string]float64 `json:"peak_rss_parts"`
	// Written is bytes for each delivery: Postgres's WAL, and the broker's writes.
	Written map[string]float64 `json:"written_bytes_per_delivery"`
	// ToRiver holds the ratios of this line's figures to River's, by name.
	ToRiver map[string]float64 `json:"to_river,omitempty"`
	// ToFirst holds the ratios of this line's figures to those of the first workload of its group.
	Group   string             `json:"group,omitempty"`
	ToFirst map[string]float64 `json:"to_first_of_group,omitempty"`
	Noise   *Noise             `json:"noise,omitempty"`
	Retries *Retries           `json:"retries,omitempty"`
	Drop    *Drop              `json:"drop,omitempty"`
	// AtOnce is the most requests at once at one endpoint with a latency, after its first 10 s.
	AtOnce int `json:"at_once,omitempty"`
	// Handshakes of the endpoints with names, summed over the rounds.
	Handshakes *Handshakes `json:"handshakes,omitempty"`
}

// Retries are the deliveries whose first request was refused.
type Retries struct {
	N         int     `json:"n"`
	PerSecond float64 `json:"per_s"` // since they were due for the retry
}

// Noise is the effect of bad neighbours on the healthy endpoints.
type Noise struct {
	// Well: the same traffic while the neighbours are healthy. Alone: without the neighbours' traffic.
	WellP50Millis  float64 `json:"well_p50_ms"`
	WellP99Millis  float64 `json:"well_p99_ms"`
	AloneP50Millis float64 `json:"alone_p50_ms"`
	AloneP99Millis float64 `json:"alone_p99_ms"`
	// ToWell and Ratio compare the healthy endpoints' p99 with these. They are medians of the rounds.
	ToWell float64 `json:"p99_to_well"`
	Ratio  float64 `json:"p99_to_alone"`
	// Slowest are the last round's slowest deliveries to healthy endpoints.
	Slowest []Slow `json:"slowest"`
	// Arrived5s is how many had arrived 5 s after the last event was sent.
	Arrived5s int `json:"arrived_after_5s"`
}

// The figures that are compared, by their names in the JSON.
const (
	perSecond  = "per_s"
	cpuPer1000 = "cpu_s_per_1000"
	p50Millis  = "p50_ms"
	p99Millis  = "p99_ms"
)

func newLine(w *Workload, system string, runs []Run) Line {
	values := map[string][]float64{}
	parts := [3]map[string][]float64{{}, {}, {}}
	var toWell, ratios, well50, well99, alone50, alone99, retries []float64
	retried := 0
	l := Line{Workload: w.Name, About: w.About, Group: w.Group, System: system, Rounds: len(runs), Spreads: map[string]Spread{}}
	var arrived int
	for i := range runs {
		r := &runs[i]
		l.N, l.Expected, l.PostedTwice = l.N+r.N, l.Expected+r.Expected, l.PostedTwice+r.PostedTwice
		arrived += r.Arrived5s
		retried += r.Retried
		retries = append(retries, r.RetriesPerSecond)
		values[perSecond] = append(values[perSecond], r.PerSecond)
		values[cpuPer1000] = append(values[cpuPer1000], total(r.CPU))
		values[p50Millis] = append(values[p50Millis], r.P50)
		values[p99Millis] = append(values[p99Millis], r.P99)
		ratios, toWell = append(ratios, ratio(r.P99, r.AloneP99)), append(toWell, ratio(r.P99, r.WellP99))
		well50, well99 = append(well50, r.WellP50), append(well99, r.WellP99)
		alone50, alone99 = append(alone50, r.AloneP50), append(alone99, r.AloneP99)
		for j, of := range []map[string]float64{r.CPU, r.Memory, r.Written} {
			for part, v := range of {
				parts[j][part] = append(parts[j][part], v)
			}
		}
	}
	for name, v := range values {
		l.Spreads[name] = spread(v)
	}
	l.PerSecond, l.CPUPer1000 = l.Spreads[perSecond].Median, l.Spreads[cpuPer1000].Median
	l.P50Millis, l.P99Millis = l.Spreads[p50Millis].Median, l.Spreads[p99Millis].Median
	l.CPUParts, l.MemoryParts, l.Written = medians(parts[0]), medians(parts[1]), medians(parts[2])
	l.MemoryBytes = total(l.MemoryParts)
	for i := range runs {
		l.AtOnce = max(l.AtOnce, runs[i].AtOnce)
	}
	if w.Names.used() {
		l.Handshakes = &Handshakes{}
		for i := range runs {
			l.Handshakes.add(runs[i].Handshakes)
		}
	}
	if retried > 0 {
		l.Retries = &Retries{N: retried, PerSecond: spread(retries).Median}
	}
	if w.Drop {
		worst := slices.MaxFunc(runs, func(a, b Run) int { return cmp.Compare(a.Drop.During, b.Drop.During) })
		l.Drop = &worst.Drop
	}
	if w.Noisy() {
		l.Noise = &Noise{
			WellP50Millis: spread(well50).Median, WellP99Millis: spread(well99).Median, ToWell: spread(toWell).Median,
			AloneP50Millis: spread(alone50).Median, AloneP99Millis: spread(alone99).Median,
			Ratio: spread(ratios).Median, Arrived5s: arrived, Slowest: runs[len(runs)-1].Slowest,
		}
	}
	return l
}

func medians(of map[string][]float64) map[string]float64 {
	out := make(map[string]float64, len(of))
	for part, v := range of {
		out[part] = spread(v).Median
	}
	return out
}

func total(parts map[string]float64) float64 {
	var sum float64
	for _, v := range parts {
		sum += v
	}
	return sum
}

// compare fills in the ratios to River and to the first workload of each group, if they ran too.
func compare(lines []Line) {
	peer, first := map[string]*Line{}, map[[2]string]*Line{}
	for i := range lines {
		l := &lines[i]
		if l.System == riverName {
			peer[l.Workload] = l
		}
		if key := [2]string{l.Group, l.System}; l.Group != "" && first[key] == nil {
			first[key] = l
		}
	}
	for i := range lines {
		l := &lines[i]
		if r := peer[l.Workload]; r != nil && r != l {
			l.ToRiver = l.over(r)
		}
		if f := first[[2]string{l.Group, l.System}]; f != nil && f != l {
			l.ToFirst = l.over(f)
		}
	}
}

func (l *Line) over(other *Line) map[string]float64 {
	return map[string]float64{
		perSecond: ratio(l.PerSecond, other.PerSecond), cpuPer1000: ratio(l.CPUPer1000, other.CPUPer1000),
		p50Millis: ratio(l.P50Millis, other.P50Millis), p99Millis: ratio(l.P99Millis, other.P99Millis),
	}
}

func write(out string, lines []Line) error {
	b, err := json.MarshalIndent(lines, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(out), 0o750)
	}
	if err == nil {
		err = os.WriteFile(out, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
