package devserver

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSOptions configure the embedded NATS.
type NATSOptions struct {
	// Dir holds JetStream's data. It is created if missing.
	Dir string
	// Port on 127.0.0.1; 0 picks a free one.
	Port int
	// Sync makes JetStream write to disk before it acknowledges.
	Sync bool
	// MaxStore is how many bytes all streams on disk may reserve, unless Config says it. 0 means three quarters of what the
	// disk has free.
	MaxStore int64
	// Config is the path of a nats-server configuration file, for users, permissions, TLS and a cluster. The options above
	// override it. "" means none.
	Config string
}

// NATS is an embedded server.
type NATS struct{ srv *server.Server }

// StartNATS starts an embedded server with JetStream and waits until it accepts connections. It gives up after 20 s.
func StartNATS(o NATSOptions) (*NATS, error) {
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{}
	if o.Config != "" {
		var err error
		if opts, err = server.ProcessConfigFile(o.Config); err != nil {
			return nil, fmt.Errorf("embedded NATS: %w", err)
		}
	}
	opts.ServerName = cmp.Or(opts.ServerName, "fanmail-embedded")
	opts.Host, opts.Port = "127.0.0.1", port
	opts.JetStream, opts.StoreDir, opts.SyncAlways = true, o.Dir, o.Sync
	if o.MaxStore > 0 && opts.JetStreamMaxStore <= 0 {
		opts.JetStreamMaxStore = o.MaxStore
	}
	opts.MaxPayload = 1 << 20
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return nil, errors.New("embedded NATS: not ready within 20 s; is its port or its directory in use?")
	}
	return &NATS{srv: s}, nil
}

// URL to connect to.
func (n *NATS) URL() string { return n.srv.ClientURL() }

// Stop shuts the server down and waits until it has exited.
func (n *NATS) Stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}
