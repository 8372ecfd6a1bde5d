package attempt

import "crypto/tls"

const (
	// sharedSessions and ownSessions bound the TLS sessions that are kept: of all hosts, and of a webhook with
	// connections of its own, which are to its host and its token endpoint.
	sharedSessions = 2048
	ownSessions    = 2
	// sessionBytes bounds a session. A server chooses the size of its chain and of its ticket.
	sessionBytes = 32 << 10
)

// sessions keeps the TLS sessions with one address, so that a new connection to it needs no full handshake. Those of
// a client certificate or a CA are kept apart: each [tls.Config] has a cache of its own.
type sessions struct {
	cache tls.ClientSessionCache
	addr  string // host and port
}

// Get implements [tls.ClientSessionCache].
func (s sessions) Get(string) (*tls.ClientSessionState, bool) { return s.cache.Get(s.addr) }

// Put implements [tls.ClientSessionCache]. Nil forgets the session.
func (s sessions) Put(_ string, session *tls.ClientSessionState) {
	if session != nil && sessionSize(session) > sessionBytes {
		session = nil
	}
	s.cache.Put(s.addr, session)
}

func sessionSize(session *tls.ClientSessionState) int {
	ticket, state, err := session.ResumptionState()
	if err != nil || state == nil {
		return 0
	}
	encoded, err := state.Bytes()
	if err != nil {
		return sessionBytes + 1
	}
	return len(ticket) + len(encoded)
}
