package scheduler

import "testing"

// BenchmarkDelivery is a delivery's whole way through the scheduler: added,
// started, finished, recorded.
func BenchmarkDelivery(b *testing.B) {
	s := newBench(b, 512, 2048)
	const lanes = 100
	hooks, deliveries := make([]*Webhook, lanes), make([]Delivery, lanes)
	envelope := make([]byte, 2000)
	for i := range hooks {
		hooks[i] = hook(byte(i), byte(i%10), 32)
		deliveries[i] = *s.delivery(hooks[i])
		deliveries[i].Envelope = envelope
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d := &deliveries[i%lanes]
		d.ID[0], d.ID[1], d.ID[2] = byte(i), byte(i>>8), byte(i>>16)
		if s.Add(s.now, d, hooks[i%lanes]) != Queued {
			b.Fatal("not queued")
		}
		s.Advance(s.now)
		s.Commands()
		s.now.Time = s.now.Time.Add(100_000)
		s.Finish(s.now, d, fine)
		s.Advance(s.now)
		s.Commands()
		s.Recorded(s.now, d, 0)
	}
}
