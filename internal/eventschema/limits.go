package eventschema

// Limits of a schema. An error that a limit causes names it.
const (
	// MaxParts bounds the subschemas of a schema, with each reference counted as what it refers to.
	MaxParts = 1000
	// MaxInstructions bounds the size of a schema's regular expressions, compiled and counted likewise.
	MaxInstructions = 2000
	// maxObjects bounds the objects and booleans of the text, before it is compiled.
	maxObjects = 5000
)

const (
	// MaxSteps bounds one comparison: the parts of the schema times the values of the data, of which those that are nested
	// deeper count more; and, a hundredfold, the instructions of regular expressions times the bytes of the data.
	MaxSteps = 1_000_000
	// maxNumber bounds the digits of a number, and its exponent: exact arithmetic takes time and memory by both.
	maxNumber = 400
)
