package pg

// A transaction in one round trip cannot look at the result of a statement before it sends the next. Instead it has a
// gate, which is open at its beginning. A statement that finds an obstacle closes it, and those that write do so only if
// it is open. A transaction with a closed gate has written nothing after the obstacle. Its caller then repeats it with
// statements that look.
const (
	// CloseGate is an SQL expression that closes the gate for the rest of the transaction. It is not null.
	CloseGate = `set_config('fanmail.gate', 'closed', true)`
	// GateOpen is an SQL condition. It is true in transactions that have no gate.
	GateOpen = `current_setting('fanmail.gate', true) IS DISTINCT FROM 'closed'`
)
