package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// arrival is one POST that the receiver got.
type arrival struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	At   int64  `json:"at"` // Unix nanoseconds
}

// ready is the line with which the receiver's process says that it listens.
type ready struct {
	URL     string `json:"url"`
	Control string `json:"control"`
}

// receive is the receiver's process: a sink that answers at once, and beside it
// the addresses by which the bench asks what came. It ends with its standard
// input, which is when the bench has gone.
func receive() error {
	s, err := sink.Start(sink.Options{Keep: sink.KeepTimes})
	if err != nil {
		return err
	}
	defer s.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err == nil {
			err = s.WaitFor(r.Context(), n)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /arrivals", func(w http.ResponseWriter, _ *http.Request) {
		posts := s.Posts(0)
		out := make([]arrival, len(posts))
		for i, p := range posts {
			out[i] = arrival{ID: p.EventID, Path: p.Path, At: p.At.UnixNano()}
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	control := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = control.Serve(l)
	}()
	if err := json.NewEncoder(os.Stdout).Encode(ready{URL: s.URL(""), Control: "http://" + l.Addr().String()}); err != nil {
		return fmt.Errorf("receiver: %w", err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = control.Close()
	<-served
	return nil
}

// receiver is the bench's end of the receiver's process.
type receiver struct {
	ready
	cmd   *exec.Cmd
	stdin io.Closer
}

func startReceiver(ctx context.Context) (*receiver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "receiver") //nolint:gosec // this program
	cmd.Stderr = os.Stderr
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

func (r *receiver) stop() {
	_ = r.stdin.Close()
	_ = r.cmd.Wait()
}

// wait waits until n POSTs have arrived.
func (r *receiver) wait(ctx context.Context, n int) error {
	return r.get(ctx, "/wait?n="+strconv.Itoa(n), nil)
}

// arrivals are all POSTs so far.
func (r *receiver) arrivals(ctx context.Context) ([]arrival, error) {
	var out []arrival
	err := r.get(ctx, "/arrivals", &out)
	return out, err
}

func (r *receiver) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Control+path, nil)
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
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("ask the receiver: %w", err)
	}
	return nil
}
