package scheduler

const (
	// budgetBytes is the memory budget of all deliveries that a process holds.
	// Beyond it a lane holds one delivery and the rest are released.
	budgetBytes = 64 << 20
	// deliveryBytes is about what a delivery takes without its envelope.
	deliveryBytes = 400
	// typicalBytes is the assumed size of a row while no size is known.
	typicalBytes = 16 << 10

	// fetchRows bounds the rows of one fetch.
	fetchRows = 2000
	// fetchFirst is how many rows a lane fetches before its rate is known. A
	// thousand lanes of dead endpoints must not fill the memory with backlogs.
	fetchFirst = 8
)

// budget counts the memory of the deliveries that are held. Deliveries of one
// event may share an envelope; it counts once.
type budget struct {
	bytes  int
	shared map[*byte]int // deliveries by the first byte of their envelope
}

func (b *budget) add(envelope []byte) {
	b.bytes += deliveryBytes
	if len(envelope) == 0 {
		return
	}
	first := &envelope[0]
	if b.shared[first]++; b.shared[first] == 1 {
		b.bytes += len(envelope)
	}
}

func (b *budget) remove(envelope []byte) {
	b.bytes -= deliveryBytes
	if len(envelope) == 0 {
		return
	}
	first := &envelope[0]
	if b.shared[first]--; b.shared[first] == 0 {
		delete(b.shared, first)
		b.bytes -= len(envelope)
	}
}

// exhausted says that lanes may hold no more than one delivery each.
func (b *budget) exhausted() bool { return b.bytes > budgetBytes }

// tight says that lanes should fetch little.
func (b *budget) tight() bool { return b.bytes > budgetBytes/2 }

// rows returns how many rows one fetch may lease, so that they take a small
// part of the budget. held is the number of deliveries that are counted.
func (b *budget) rows(held int) int {
	size := typicalBytes
	if held > 0 {
		size = b.bytes / held
	}
	return max(fetchFirst, min(fetchRows, budgetBytes/4/max(size, 1)))
}
