package app

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/health"
)

const (
	// blobsEvery is the time between two checks of the store, and blobsTimeout their bound.
	blobsEvery   = 10 * time.Second
	blobsTimeout = 5 * time.Second
)

// watchedBlobs is a store whose requests are counted, and whose state is known.
type watchedBlobs struct {
	blobs.Store
	m         *blobMetrics
	log       *zap.Logger
	component *health.Component
}

// done counts a request and reports how it ended.
func (w *watchedBlobs) done(ctx context.Context, op string, began time.Time, err error) {
	w.m.duration.WithLabelValues(op).Observe(time.Since(began).Seconds())
	result := "ok"
	switch {
	case blobs.KindOf(err) == blobs.Missing:
		result = "missing"
	case err != nil:
		result = "error"
	}
	w.m.operations.WithLabelValues(op, result).Inc()
	if result == "error" && ctx.Err() == nil {
		w.report(err)
	}
}

// report records how the store stands.
func (w *watchedBlobs) report(err error) {
	if !w.component.Report(err) {
		return
	}
	if err != nil {
		w.log.Warn("the blob store fails; mails over 128 KiB are refused for now, and those in it can't be read", zap.Error(err))
	} else {
		w.log.Info("the blob store works")
	}
}

// Put is [blobs.Store.Put].
func (w *watchedBlobs) Put(ctx context.Context, key string, content *io.SectionReader) error {
	began := time.Now()
	err := w.Store.Put(ctx, key, content)
	w.done(ctx, "write", began, err)
	if err == nil {
		w.m.bytes.WithLabelValues("write").Add(float64(content.Size()))
	}
	return err
}

// Open is [blobs.Store.Open].
func (w *watchedBlobs) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	began := time.Now()
	r, err := w.Store.Open(ctx, key, from)
	w.done(ctx, "read", began, err)
	if err != nil {
		return nil, err
	}
	return &countedBlob{ReadCloser: r, m: w.m}, nil
}

// Delete is [blobs.Store.Delete].
func (w *watchedBlobs) Delete(ctx context.Context, key string) error {
	began := time.Now()
	err := w.Store.Delete(ctx, key)
	w.done(ctx, "delete", began, err)
	return err
}

// countedBlob counts the bytes that are read.
type countedBlob struct {
	io.ReadCloser
	m *blobMetrics
}

// Read is [io.Reader].
func (r *countedBlob) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.m.bytes.WithLabelValues("read").Add(float64(n))
	return n, err
}

// run checks the store until ctx ends. A store that fails counts as well again once a
// trial was written, read and deleted: one that is full can be reached too.
func (w *watchedBlobs) run(ctx context.Context) error {
	tick := time.NewTicker(blobsEvery)
	defer tick.Stop()
	failing := true
	for {
		check, cancel := context.WithTimeoutCause(ctx, blobsTimeout, errBlobsSlow)
		var err error
		if failing = failing || w.component.Failing(); failing {
			err = blobs.Probe(check, w.Store, trialKey())
		} else {
			err = w.Store.Check(check)
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		w.report(err)
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

type blobMetrics struct {
	operations *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	removed    prometheus.Counter
}

func newBlobMetrics(r prometheus.Registerer) *blobMetrics {
	m := &blobMetrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_blobs_operations_total", Help: "Requests to the blob store of large raw mails, by operation (write, read, delete) and result (ok, missing, error).",
		}, []string{"operation", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_blobs_bytes_total", Help: "Bytes written to and read from the blob store.",
		}, []string{"operation"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fanmail_blobs_request_duration_seconds", Help: "How long requests to the blob store took; for reads, until the answer begins.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120},
		}, []string{"operation"}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_blobs_removed_total", Help: "Blobs removed because no mail needs them: past their retention, deleted, or never committed.",
		}),
	}
	for _, op := range []string{"write", "read", "delete"} {
		for _, result := range []string{"ok", "missing", "error"} {
			m.operations.WithLabelValues(op, result)
		}
		m.duration.WithLabelValues(op)
	}
	m.bytes.WithLabelValues("write")
	m.bytes.WithLabelValues("read")
	r.MustRegister(m.operations, m.bytes, m.duration, m.removed)
	return m
}

// trialKey is the key of a blob that is deleted at once.
func trialKey() string { return "trial/" + events.NewID().String() }

var errBlobsSlow = errors.New("the blob store took over 5 s")
