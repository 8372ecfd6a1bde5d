package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// Delivery is one event for one endpoint.
type Delivery struct{ ID, Path string }

// Arrival is one POST that the receiver got.
type Arrival struct {
	Delivery
	At time.Time
}

// ready is the line that the receiver's process prints when it listens.
type ready struct {
	URL     string `json:"url"`
	Control string `json:"control"`
	// DNS and Roots are those of [Names].
	DNS   string `json:"dns,omitempty"`
	Roots string `json:"roots,omitempty"`
}

// receiverCommand is the argument that makes this program the receiver. receiverIdle is a variable: how long its HTTPS
// endpoints keep an idle connection; without it they are plain HTTP. receiverDir is the directory for its files.
const (
	receiverCommand = "receiver"
	receiverIdle    = "BENCH_RECEIVER_IDLE"
	receiverDir     = "BENCH_RECEIVER_DIR"
)

// receive is the receiver's process: a sink, and an HTTP server for the bench's commands and
// questions. It exits when its standard input ends, which is when the bench exits.
func receive() error {
	at, options, secure := ready{}, sink.Options{Keep: sink.KeepTimes}, &secured{}
	if text := os.Getenv(receiverIdle); text != "" {
		idle, err := time.ParseDuration(text)
		if err == nil {
			secure, err = startSecured(os.Getenv(receiverDir))
		}
		if err != nil {
			return fmt.Errorf("receiver: %w", err)
		}
		defer func() { _ = secure.dns.Close() }()
		options, at.DNS, at.Roots = secure.options(idle), secure.dns.Addr, secure.roots
	}
	s, err := sink.Start(options)
	if err != nil {
		return err
	}
	defer s.Close()
	at.URL = s.URL("")
	return serveControl(at, s, secure)
}

// serveControl serves the bench until standard input ends.
func serveControl(at ready, s *sink.Sink, secure *secured) error {
	mux := http.NewServeMux()
	told := behaviours{sink: s}
	mux.HandleFunc("POST /answers", told.set)
	mux.HandleFunc("GET /at-once", told.atOnce)
	if secure.dns != nil {
		mux.HandleFunc("GET /handshakes", func(w http.ResponseWriter, _ *http.Request) { _ = gob.NewEncoder(w).Encode(secure.handshakes()) })
	}
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err == nil {
			err = s.WaitFor(r.Context(), n)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /arrivals", func(w http.ResponseWriter, r *http.Request) {
		from, err := strconv.Atoi(r.URL.Query().Get("from"))
		if err != nil || from < 0 {
			http.Error(w, "from is not a number", http.StatusBadRequest)
			return
		}
		posts := s.Posts(from)
		out := make([]Arrival, len(posts))
		for i, p := range posts {
			out[i] = Arrival{Delivery: Delivery{p.EventID, p.Path}, At: p.At}
		}
		_ = gob.NewEncoder(w).Encode(out)
	})
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	control := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = control.Serve(l)
	}()
	at.Control = "http://" + l.Addr().String()
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = control.Close()
	<-closed
	return nil
}

// behaviours are what the endpoints were told to do.
type behaviours struct {
	sink   *sink.Sink
	served sync.Map // path → *servers
}

// set gives endpoints their behaviour.
func (b *behaviours) set(w http.ResponseWriter, r *http.Request) {
	var answers map[string]Answer
	if err := json.NewDecoder(r.Body).Decode(&answers); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for path, a := range answers {
		if a.Latency == 0 {
			b.sink.Script(path, script(a))
			continue
		}
		n := newServers(a)
		b.served.Store(path, n)
		b.sink.Script(path, n.script())
	}
}

// atOnce returns the most requests at once at one endpoint; see [servers.atOnce].
func (b *behaviours) atOnce(w http.ResponseWriter, _ *http.Request) {
	most := 0
	b.served.Range(func(_, n any) bool {
		most = max(most, n.(*servers).atOnce())
		return true
	})
	_ = gob.NewEncoder(w).Encode(most)
}

// receiver is the bench's client of the receiver's process.
type receiver struct {
	ready
	cmd   *exec.Cmd
	stdin io.Closer
}

// startReceiver starts it, with its files in dir.
func startReceiver(ctx context.Context, n *Names, dir string) (*receiver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, receiverCommand) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	if n.used() {
		cmd.Env = append(os.Environ(), receiverIdle+"="+n.Idle.String(), receiverDir+"="+dir)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	r := &receiver{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r.ready)
	}
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	return r, nil
}

// url is where an endpoint is.
func (r *receiver) url(e *Endpoint) string {
	if e.Host == "" {
		return r.URL + e.Path
	}
	return "https://" + e.Host + r.URL[strings.LastIndexByte(r.URL, ':'):] + e.Path
}

// handshakes are those so far, of a receiver with names.
func (r *receiver) handshakes(ctx context.Context, n *Names) (h Handshakes, err error) {
	if n.used() {
		err = r.ask(ctx, http.MethodGet, "/handshakes", nil, &h)
	}
	return h, err
}

func (r *receiver) stop() {
	_ = r.stdin.Close()
	_ = r.cmd.Wait()
}

// script turns an endpoint's behaviour into the sink's script.
func script(a Answer) sink.Script {
	var first sync.Once
	var well time.Time
	var seen sync.Map
	never := make(chan struct{})
	return func(c sink.Call) sink.Answer {
		out := sink.Answer{Delay: a.Delay}
		if a.Hang {
			out.Until = never
		}
		if a.FailFor > 0 {
			first.Do(func() { well = time.Now().Add(a.FailFor) })
			if time.Now().Before(well) {
				out.Status = http.StatusInternalServerError
			}
		}
		if a.refuses(c.EventID) {
			if _, again := seen.LoadOrStore(c.EventID, nil); !again {
				out.Status = http.StatusServiceUnavailable
			}
		}
		return out
	}
}

// latencies sends the latency of the endpoints that have one, which is theirs from the start.
func (r *receiver) latencies(ctx context.Context, endpoints []Endpoint) error {
	return r.answersOf(ctx, endpoints, func(a Answer) bool { return a.Latency > 0 })
}

// answers sends the other endpoints' behaviour to the receiver.
func (r *receiver) answers(ctx context.Context, endpoints []Endpoint) error {
	return r.answersOf(ctx, endpoints, func(a Answer) bool { return a.Latency == 0 && a != Answer{} })
}

// atOnce returns the most requests at once at an endpoint with a latency, since the sender had time to settle.
func (r *receiver) atOnce(ctx context.Context) (most int, err error) {
	err = r.ask(ctx, http.MethodGet, "/at-once", nil, &most)
	return most, err
}

func (r *receiver) answersOf(ctx context.Context, endpoints []Endpoint, want func(Answer) bool) error {
	told := make(map[string]Answer)
	for i := range endpoints {
		if e := &endpoints[i]; want(e.Answer) {
			told[e.Path] = e.Answer
		}
	}
	body, err := json.Marshal(told)
	if err != nil {
		return fmt.Errorf("send the answers to the receiver: %w", err)
	}
	return r.ask(ctx, http.MethodPost, "/answers", body, nil)
}

// wait waits until n POSTs have arrived.
func (r *receiver) wait(ctx context.Context, n int) error {
	return r.ask(ctx, http.MethodGet, "/wait?n="+strconv.Itoa(n), nil, nil)
}

// arrivals returns the POSTs so far, from the given one on.
func (r *receiver) arrivals(ctx context.Context, from int) ([]Arrival, error) {
	var out []Arrival
	err := r.ask(ctx, http.MethodGet, "/arrivals?from="+strconv.Itoa(from), nil, &out)
	return out, err
}

func (r *receiver) ask(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, r.Control+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the receiver: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the receiver: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the receiver: %s", resp.Status)
	}
	if out == nil {
		return nil
	}
	if err := gob.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("ask the receiver: %w", err)
	}
	return nil
}
