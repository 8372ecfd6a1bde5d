package dispatch

const (
	// stockBytes is what all deliveries in a process's hands may take. Past
	// it a lane holds one delivery and parks the rest.
	stockBytes = 64 << 20
	// deliveryBytes is about what a delivery takes beside its envelope.
	deliveryBytes = 400
	// typicalBytes is what a row is reckoned at while none is known.
	typicalBytes = 16 << 10
)

// stock counts the memory of the deliveries that are held. Those of one event
// may share an envelope, which counts once.
type stock struct {
	bytes  int
	shared map[*byte]int // deliveries by the envelope that they share
}

func (s *stock) add(envelope []byte) {
	s.bytes += deliveryBytes
	if len(envelope) == 0 {
		return
	}
	first := &envelope[0]
	if s.shared[first]++; s.shared[first] == 1 {
		s.bytes += len(envelope)
	}
}

func (s *stock) remove(envelope []byte) {
	s.bytes -= deliveryBytes
	if len(envelope) == 0 {
		return
	}
	first := &envelope[0]
	if s.shared[first]--; s.shared[first] == 0 {
		delete(s.shared, first)
		s.bytes -= len(envelope)
	}
}

// rows is how many rows one statement may lease, so that what it brings is a
// small part of the stock; held is how many are in stock.
func (s *stock) rows(held int) int {
	size := typicalBytes
	if held > 0 {
		size = s.bytes / held
	}
	return max(pullFirst, min(sweepRows, stockBytes/4/max(size, 1)))
}
