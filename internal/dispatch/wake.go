package dispatch

// wake signals a channel with room for one value. A signal that has not been
// received yet stands for all later ones.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
