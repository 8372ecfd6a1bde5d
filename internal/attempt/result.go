package attempt

import "time"

// SlowAfter is the duration from which an attempt is slow: it then holds a slot
// of the slow pool instead of a fast one.
const SlowAfter = time.Second

// The reasons why an attempt ended as it did. The set is closed; see [Reasons].
const (
	ReasonOK         = "ok"
	ReasonTimeout    = "timeout"
	ReasonDNS        = "dns"
	ReasonRefused    = "refused"
	ReasonTLS        = "tls"
	ReasonToken      = "token"
	ReasonConnection = "connection"
	ReasonBlocked    = "blocked"
	ReasonRequest    = "request"
	ReasonRedirect   = "status_3xx"
	ReasonClient     = "status_4xx"
	ReasonLimited    = "status_429"
	ReasonGone       = "gone"
	ReasonServer     = "status_5xx"
	ReasonOther      = "status_other"
	ReasonStopped    = "stopped"
)

// Reasons returns every reason.
func Reasons() []string {
	return []string{
		ReasonOK, ReasonTimeout, ReasonDNS, ReasonRefused, ReasonTLS, ReasonToken, ReasonConnection, ReasonBlocked, ReasonRequest,
		ReasonRedirect, ReasonClient, ReasonLimited, ReasonGone, ReasonServer, ReasonOther, ReasonStopped,
	}
}

// Result is how an attempt ended.
type Result struct {
	// Delivered is true if the endpoint answered 2xx.
	Delivered bool
	// StatusCode of the answer; 0 if no complete answer came.
	StatusCode int
	// Reason is one of [Reasons].
	Reason string
	// Error is one line of valid UTF-8, at most 500 bytes; "" if Delivered. Tenants
	// read it.
	Error string
	// Detail is the error of a transport, as one line of at most 500 bytes; "" for
	// none. It is for the operator alone: it can hold addresses of this network.
	Detail string
	// Response is the beginning of the answer's body as valid UTF-8 without
	// NUL, made from at most 1 KiB.
	Response string
	// RetryAfter is the wait that a 429 or 503 asked for, at most
	// [retry.MaxRetryAfter]; 0 if it asked for none.
	RetryAfter time.Duration
	// Duration is from the start of the attempt to the end of the answer.
	Duration time.Duration
	// Latency is the part of Duration from when the request had a connection,
	// so without DNS, connect and TLS handshake. 0 without a complete answer.
	Latency time.Duration
}

// Overload reports whether the endpoint can't keep up, as opposed to rejecting
// this event.
func (r *Result) Overload() bool {
	switch r.Reason {
	case ReasonTimeout, ReasonRefused, ReasonConnection, ReasonLimited, ReasonServer:
		return true
	}
	return false
}

// Stopped reports whether this process gave the attempt up. Such an attempt
// says nothing about the endpoint and is not counted.
func (r *Result) Stopped() bool { return r.Reason == ReasonStopped }

// Slow reports whether the attempt took [SlowAfter] or longer.
func (r *Result) Slow() bool { return r.Duration >= SlowAfter }
