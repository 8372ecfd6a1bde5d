// Package jsonscan finds values in JSON without decoding the rest of it.
//
// A scan costs about as much as reading the bytes. No input makes it fail: at bytes that are not JSON it ends.
package jsonscan
