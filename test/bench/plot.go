package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // the format of the plots
)

// chart is one plot: bars of a figure, by workload and system.
type chart struct {
	file, title, unit string
	of                func(*Line) (float64, bool)
}

var charts = []chart{
	{"throughput.svg", "Deliveries a second", "1/s", func(l *Line) (float64, bool) {
		return l.PerSecond, slices.Contains([]string{"W1", "W1b", "W2"}, l.Workload)
	}},
	{"cpu.svg", "CPU seconds for 1,000 deliveries", "s", func(l *Line) (float64, bool) {
		return l.CPUPer1000, slices.Contains([]string{"W1", "W1b", "W2"}, l.Workload)
	}},
	{"latency-p50.svg", "Commit to arrival, p50", "ms", func(l *Line) (float64, bool) {
		return l.P50Millis, slices.Contains([]string{"W3", "W3b"}, l.Workload)
	}},
	{"latency-p99.svg", "Commit to arrival, p99", "ms", func(l *Line) (float64, bool) {
		return l.P99Millis, slices.Contains([]string{"W3", "W3b"}, l.Workload)
	}},
	{"neighbours.svg", "Healthy p99 with bad neighbours, over p99 alone (cut at 10)", "×", func(l *Line) (float64, bool) {
		if l.Noise == nil {
			return 0, false
		}
		return min(l.Noise.Ratio, 10), true
	}},
}

var barColors = []color.Color{color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}, color.RGBA{R: 0xb0, G: 0xb0, B: 0xb0, A: 0xff}}

// plots writes the charts that the lines have figures for into dir.
func plots(dir string, lines []Line) error {
	for _, c := range charts {
		if err := c.save(dir, lines); err != nil {
			return fmt.Errorf("plot %s: %w", c.file, err)
		}
	}
	return nil
}

func (c *chart) save(dir string, lines []Line) error {
	var workloads, systems []string
	values := map[[2]string]float64{}
	for i := range lines {
		l := &lines[i]
		v, ok := c.of(l)
		if !ok {
			continue
		}
		if !slices.Contains(workloads, l.Workload) {
			workloads = append(workloads, l.Workload)
		}
		if !slices.Contains(systems, l.System) {
			systems = append(systems, l.System)
		}
		values[[2]string{l.Workload, l.System}] = v
	}
	file := filepath.Join(dir, c.file)
	if len(values) == 0 {
		// An old plot beside new results would mislead.
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.Y.Min = c.title, c.unit, 0
	p.Legend.Top = true
	p.NominalX(workloads...)
	width := vg.Points(28)
	for i, system := range systems {
		bars := make(plotter.Values, len(workloads))
		for j, w := range workloads {
			bars[j] = values[[2]string{w, system}]
		}
		b, err := plotter.NewBarChart(bars, width)
		if err != nil {
			return err
		}
		b.Color, b.LineStyle.Width = barColors[i%len(barColors)], 0
		b.Offset = width * vg.Length(2*i-len(systems)+1) / 2
		p.Add(b)
		p.Legend.Add(system, b)
	}
	p.X.Min, p.X.Max = -0.6, float64(len(workloads))-0.4 // show the outer bars in full
	p.Y.Max *= 1.2                                       // room for the legend
	return p.Save(vg.Length(len(workloads))*90+120, 280, file)
}
