package datafilter

import (
	"bytes"
	"cmp"
)

// number is a number of JSON: 0.d₁d₂d₃… × 10^exponent, with the sign. The zero value is 0.
type number struct {
	negative bool
	digits   []byte // without zeros at either end
	exponent int64
}

// farExponent stands for every exponent beyond it. No number of a filter is near it.
const farExponent = 1 << 40

// parseNumber reads a number of JSON. It reads other bytes as some number.
func parseNumber(b []byte) number {
	var n number
	if len(b) > 0 && b[0] == '-' {
		n.negative, b = true, b[1:]
	}
	if e := bytes.IndexAny(b, "eE"); e >= 0 {
		n.exponent, b = parseExponent(b[e+1:]), b[:e]
	}
	whole, fraction, _ := bytes.Cut(b, []byte{'.'})
	digits := whole
	if len(fraction) > 0 {
		digits = append(append(make([]byte, 0, len(b)), whole...), fraction...)
	}
	n.digits = bytes.TrimLeft(digits, "0")
	n.exponent += int64(len(whole) - (len(digits) - len(n.digits)))
	if n.digits = bytes.TrimRight(n.digits, "0"); len(n.digits) == 0 {
		return number{}
	}
	return n
}

func parseExponent(b []byte) (e int64) {
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative, b = b[0] == '-', b[1:]
	}
	for _, digit := range b {
		if e = 10*e + int64(digit-'0'); e > farExponent {
			e = farExponent
			break
		}
	}
	if negative {
		return -e
	}
	return e
}

func (n number) sign() int {
	switch {
	case len(n.digits) == 0:
		return 0
	case n.negative:
		return -1
	}
	return 1
}

// compare returns -1, 0 or 1 if n is less than, equal to or greater than o.
func (n number) compare(o number) int {
	if c := cmp.Compare(n.sign(), o.sign()); c != 0 {
		return c
	}
	c := cmp.Compare(n.exponent, o.exponent)
	if c == 0 {
		c = bytes.Compare(n.digits, o.digits)
	}
	if n.negative {
		return -c
	}
	return c
}
