package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// errNoProfiles means that a process serves no /debug/pprof.
var errNoProfiles = errors.New("the process serves no /debug/pprof")

// fetchProfile writes a CPU profile of the process at base to a file.
func fetchProfile(ctx context.Context, base string, length time.Duration, file string) (err error) {
	url := base + "/debug/pprof/profile?seconds=" + strconv.Itoa(int(length.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return errNoProfiles
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	out, err := os.Create(file) //nolint:gosec // where the caller wants it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, resp.Body)
	return err
}
