package outbox

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// hintTimes is a connection that notes when hints are sent.
type hintTimes struct {
	start time.Time
	at    []time.Duration
}

func (h *hintTimes) Publish(string, []byte) error {
	h.at = append(h.at, time.Since(h.start))
	return nil
}

func TestAWakerSendsOneHintForManyEvents(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct{ calls, hints []time.Duration }{
		"few":      {[]time.Duration{0, 4 * ms, 100 * ms}, []time.Duration{0, 4 * ms, 100 * ms}},
		"a second": {[]time.Duration{0, 1 * ms}, []time.Duration{0, 4 * ms}},
		"many":     {[]time.Duration{0, 1 * ms, 2 * ms, 5 * ms, 11 * ms, 13 * ms}, []time.Duration{0, 4 * ms, 12 * ms, 20 * ms}},
		"a pause":  {[]time.Duration{0, 1 * ms, 2 * ms, 30 * ms, 35 * ms}, []time.Duration{0, 4 * ms, 30 * ms, 35 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent := &hintTimes{start: time.Now()}
				w := NewWaker(sent)
				for _, at := range c.calls {
					<-time.After(at - time.Since(sent.start))
					w.Wake()
				}
				<-time.After(time.Second)
				synctest.Wait()
				require.Equal(t, c.hints, sent.at)
			})
		})
	}
}

func TestAWakerWithoutAConnectionSendsNothing(t *testing.T) {
	t.Parallel()
	var none *Waker
	none.Wake()
	w := NewWaker(nil)
	w.Wake()
	w.Wake()
}
