package ingest

// The bounds of large mails in memory.
const (
	HeldLargeBytes = heldLargeBytes
	ParsedBytes    = parsedBytes
)

// HoldsParsedMails reports whether n large mails at most have room in memory, all of which are parsed.
func (s *Server) HoldsParsedMails(n int64) bool {
	room := heldLargeBytes - n*parsedBytes
	if !s.heldLarge.TryAcquire(room) {
		return false
	}
	s.heldLarge.Release(room)
	return true
}

// Spooled is how many bytes are in temporary files.
func (s *Server) Spooled() int64 { return s.transfers.held() }
