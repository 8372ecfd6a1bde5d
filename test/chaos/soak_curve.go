package main

import (
	"fmt"
	"image/color"
	"maps"
	"os"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// curve is one series over the time of a soak.
type curve struct {
	name   string
	points plotter.XYs // minutes and value
}

// curves groups the samples by series.
func (s *soaking) curves() []curve {
	points := map[string]plotter.XYs{}
	for _, sample := range s.samples {
		for name, v := range sample.Values {
			points[name] = append(points[name], plotter.XY{X: sample.At.Minutes(), Y: v})
		}
	}
	var out []curve
	for _, name := range slices.Sorted(maps.Keys(points)) {
		out = append(out, curve{name, points[name]})
	}
	return out
}

// growth is the allowed ratio of the last quarter to the second one. A tenth allows for the garbage
// collector and connection pools.
const growth = 1.1

var slack = map[string]float64{
	seriesMemory: 24, seriesGoroutines: 60, seriesFiles: 60, seriesBackends: 10, seriesPartitions: 5,
	seriesTables: 8, seriesIndexes: 8, seriesPending: 400, seriesOutbox: 200,
}

// kind is a series' name without the process's name.
func (c *curve) kind() string {
	for kind := range slack {
		if strings.HasPrefix(c.name, kind) {
			return kind
		}
	}
	return c.name
}

// flat compares the means of the second and the last quarter. The first quarter is for warm-up, until
// retention drops the first partition.
func (c *curve) flat() (second, last float64, ok bool) {
	second, last = c.mean(0.25, 0.5), c.mean(0.75, 1)
	if c.name == seriesRate {
		return second, last, last > second/growth
	}
	return second, last, last <= second*growth+slack[c.kind()]
}

// mean of the values between two fractions of the time.
func (c *curve) mean(from, to float64) float64 {
	if len(c.points) == 0 {
		return 0
	}
	end := c.points[len(c.points)-1].X
	sum, n := 0.0, 0.0
	for _, p := range c.points {
		if p.X >= from*end && p.X <= to*end {
			sum, n = sum+p.Y, n+1
		}
	}
	return sum / max(n, 1)
}

// summary is a table of the curves. It reports whether all are flat.
func summary(curves []curve) (string, bool) {
	var b strings.Builder
	good := len(curves) > 0
	fmt.Fprintf(&b, "%-32s %14s %14s\n", "series", "second quarter", "last quarter")
	for i := range curves {
		second, last, ok := curves[i].flat()
		word := ""
		if !ok {
			good, word = false, "  NOT FLAT"
		}
		fmt.Fprintf(&b, "%-32s %14.1f %14.1f%s\n", curves[i].name, second, last, word)
	}
	return b.String(), good
}

// charts are the plots of the image, each with the prefixes of its series' names.
var charts = []struct {
	title, unit string
	series      []string
}{
	{"Deliveries", "1/s", []string{seriesRate}},
	{"Waiting", "rows", []string{seriesPending, seriesOutbox}},
	{"Tables and indexes with partitions", "MB", []string{seriesTables, seriesIndexes}},
	{"Partitions, database connections", "", []string{seriesPartitions, seriesBackends}},
	{"Memory", "MB", []string{seriesMemory}},
	{"Goroutines", "", []string{seriesGoroutines}},
}

var palette = []color.Color{
	color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff},
	color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff},
	color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff},
	color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff},
	color.RGBA{R: 0x94, G: 0x67, B: 0xbd, A: 0xff},
	color.RGBA{R: 0x8c, G: 0x56, B: 0x4b, A: 0xff},
	color.RGBA{R: 0xe3, G: 0x77, B: 0xc2, A: 0xff},
	color.RGBA{R: 0x7f, G: 0x7f, B: 0x7f, A: 0xff},
	color.RGBA{R: 0xbc, G: 0xbd, B: 0x22, A: 0xff},
}

// paint writes the charts as an SVG file.
func paint(path string, curves []curve) error {
	const columns = 2
	rows := (len(charts) + columns - 1) / columns
	grid := make([][]*plot.Plot, rows)
	for i, ch := range charts {
		p := plot.New()
		p.Title.Text, p.X.Label.Text, p.Y.Label.Text, p.Y.Min = ch.title, "minutes", ch.unit, 0
		p.Legend.Top, p.Legend.Left = false, true
		p.Add(plotter.NewGrid())
		colour := 0
		for _, c := range curves {
			at := slices.IndexFunc(ch.series, func(s string) bool { return strings.HasPrefix(c.name, s) })
			if at < 0 {
				continue
			}
			line, err := plotter.NewLine(c.points)
			if err != nil {
				return fmt.Errorf("plot %s: %w", c.name, err)
			}
			line.Color = palette[colour%len(palette)]
			colour++
			p.Add(line)
			label := c.name
			if strings.HasSuffix(ch.series[at], " ") { // one curve for each process
				label = strings.TrimPrefix(c.name, ch.series[at])
			}
			p.Legend.Add(label, line)
		}
		p.Y.Max *= 1.1
		grid[i/columns] = append(grid[i/columns], p)
	}
	canvas := vgsvg.New(30*vg.Centimeter, vg.Length(rows)*8*vg.Centimeter)
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Millimeter * 6, PadY: vg.Millimeter * 6, PadLeft: vg.Millimeter * 2, PadRight: vg.Millimeter * 4}
	for i, row := range plot.Align(grid, tiles, draw.New(canvas)) {
		for j := range row {
			grid[i][j].Draw(row[j])
		}
	}
	f, err := os.Create(path) //nolint:gosec // the caller's choice
	if err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	if _, err := canvas.WriteTo(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("write the plot: %w", err)
	}
	return f.Close()
}
