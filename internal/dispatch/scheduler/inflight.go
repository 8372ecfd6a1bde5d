package scheduler

// inFlightList links the attempts on fast slots, oldest first.
type inFlightList struct{ head, tail *Delivery }

func (f *inFlightList) push(d *Delivery) {
	d.prev = f.tail
	if f.tail != nil {
		f.tail.next = d
	} else {
		f.head = d
	}
	f.tail = d
}

func (f *inFlightList) remove(d *Delivery) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		f.head = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		f.tail = d.prev
	}
	d.prev, d.next = nil, nil
}
