package eventschema

// Limits of a schema. An error that a limit causes names it.
const (
	// MaxParts bounds the subschemas of a schema, with each reference counted as what it refers to, and with what lists of
	// names and values, and limits of numbers, take.
	MaxParts = 1000
	// MaxInstructions bounds the size of a schema's regular expressions, compiled and counted likewise.
	MaxInstructions = 2000
	// maxObjects bounds the objects and booleans of the text, before it is compiled.
	maxObjects = 5000
)

const (
	// MaxSteps bounds one comparison: the parts of the schema times the values of the data, of which those that are nested
	// deeper, and numbers with more digits, count more; and, a hundredfold, the instructions of regular expressions times
	// the bytes of the data. A step takes less than a microsecond, and some 200 bytes where the data does not fit.
	MaxSteps = 250_000
	// heavy is how many steps a comparison takes that waits for its turn.
	heavy = MaxSteps / 25
	// listSteps bounds what the heavy comparisons of one list of events take together.
	listSteps = 4 * MaxSteps
	// maxNumber bounds the digits of a number, and its exponent: exact arithmetic takes time and memory by both.
	maxNumber = 400
)
