package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	var d []time.Duration
	for i := 1; i <= 200; i++ {
		d = append(d, time.Duration(i))
	}
	require.EqualValues(t, 100, percentile(d, 50))
	require.EqualValues(t, 198, percentile(d, 99))
	require.EqualValues(t, 200, percentile(d, 100))
	require.EqualValues(t, 1, percentile(d, 0))
	require.EqualValues(t, 7, percentile([]time.Duration{7}, 99))
	require.Zero(t, percentile(nil, 99))
}

func TestSpread(t *testing.T) {
	t.Parallel()
	values := []float64{9, 1, 4}
	require.Equal(t, Spread{Median: 4, Min: 1, Max: 9}, spread(values))
	require.Equal(t, []float64{9, 1, 4}, values, "the caller's order stays")
	require.Equal(t, Spread{Median: 2.5, Min: 1, Max: 4}, spread([]float64{1, 2, 3, 4}))
	require.Equal(t, Spread{Median: 3, Min: 3, Max: 3}, spread([]float64{3}))
	require.Zero(t, spread(nil))
}

func TestRatio(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0.5, ratio(1, 2))
	require.Zero(t, ratio(1, 0))
}
