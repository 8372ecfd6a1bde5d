package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// riverCommand is the argument that makes this program the peer's worker. riverDatabase and riverReady
// are variables: the database to work on, and the address at which it listens when it works.
const (
	riverCommand  = "river-worker"
	riverDatabase = "BENCH_RIVER_DATABASE_URL"
	riverReady    = "BENCH_RIVER_READY_ADDR"
	// riverWorkersEnv is the number of workers.
	riverWorkersEnv = "BENCH_RIVER_WORKERS"
)

// The settings with which River had its best figures on two cores.
const (
	riverWorkers     = 500
	riverConnections = 16
	fetchCooldown    = 10 * time.Millisecond
	fetchPoll        = 20 * time.Millisecond
	postTimeout      = 15 * time.Second
	postAttempts     = 8
)

// riverWorkerCounts are the numbers of workers that may be asked for. With slow endpoints more of them are faster.
var riverWorkerCounts = []int{riverWorkers, 2000, 5000}

var quiet = slog.New(slog.DiscardHandler)

// post is the job: one event for one endpoint. It holds the envelope, so that the worker reads nothing
// more.
type post struct {
	Event    string          `json:"event"`
	Endpoint string          `json:"endpoint"`
	Envelope json.RawMessage `json:"envelope"`
}

// Kind implements [river.JobArgs].
func (post) Kind() string { return "post" }

// InsertOpts implements [river.JobArgsWithInsertOpts].
func (post) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: postAttempts} }

// endpoint is what the worker keeps of a row of endpoints.
type endpoint struct {
	url    string
	signer *signature.Signer
}

// poster works the jobs.
type poster struct {
	river.WorkerDefaults[post]
	pool   *pgxpool.Pool
	client *http.Client
	known  sync.Map // id → *endpoint
}

func newPoster(pool *pgxpool.Pool, n int) *poster {
	return &poster{pool: pool, client: &http.Client{
		Timeout:       postTimeout,
		Transport:     &http.Transport{MaxIdleConns: 2 * n, MaxIdleConnsPerHost: 2 * n, IdleConnTimeout: 90 * time.Second, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Work implements [river.Worker].
func (p *poster) Work(ctx context.Context, job *river.Job[post]) error {
	e, err := p.endpoint(ctx, job.Args.Endpoint)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(job.Args.Envelope))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	e.signer.Sign(req.Header, job.Args.Event, time.Now(), job.Args.Envelope)
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 8<<10)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	return nil
}

func (p *poster) endpoint(ctx context.Context, id string) (*endpoint, error) {
	if e, ok := p.known.Load(id); ok {
		return e.(*endpoint), nil
	}
	var key events.WebhookID
	if err := key.UnmarshalText([]byte(id)); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	var e endpoint
	var secret string
	if err := p.pool.QueryRow(ctx, `SELECT url, secret FROM endpoints WHERE id = $1`, key).Scan(&e.url, &secret); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	var err error
	if e.signer, err = signature.NewSigner(secret); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	p.known.Store(id, &e)
	return &e, nil
}

// workRiver is the worker's process. It exits with ctx, without waiting for requests that hang.
func workRiver(ctx context.Context) error {
	useNames()
	conf, err := pgxpool.ParseConfig(os.Getenv(riverDatabase))
	if err != nil {
		return fmt.Errorf("worker: %s: %w", riverDatabase, err)
	}
	conf.MaxConns = riverConnections
	pool, err := pgxpool.NewWithConfig(ctx, conf)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	defer pool.Close()
	n, err := strconv.Atoi(os.Getenv(riverWorkersEnv))
	if err != nil {
		return fmt.Errorf("worker: %s: %w", riverWorkersEnv, err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, newPoster(pool, n))
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: n}}, Workers: workers, Logger: quiet,
		FetchCooldown: fetchCooldown, FetchPollInterval: fetchPoll,
	})
	if err == nil {
		err = client.Start(context.WithoutCancel(ctx))
	}
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", os.Getenv(riverReady))
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	<-ctx.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), postTimeout)
	defer cancel()
	return errors.Join(client.StopAndCancel(stopping), l.Close())
}
